//go:build !bouncer_only

package config

import "path/filepath"

// Warnings returns what upstream warns of in a configuration that is good for now, in
// its words.
func (f *File) Warnings() (list []string) {
	p, crowdsec, server := f.ConfigPaths, orZero(f.Crowdsec), orZero(f.API.Server)
	for _, path := range []string{
		p.ConfigDir, p.DataDir, p.SimulationPath, p.HubDir, p.IndexPath, p.NotificationDir, p.PluginDir, p.PatternDir,
		crowdsec.AcquisitionPath, crowdsec.AcquisitionDir, crowdsec.ConsoleContextPath, f.DB.DBPath, f.API.Client.CredentialsPath,
		server.ProfilesPath, server.ConsolePath, server.ListenSocket, server.OnlineClient.CredentialsPath,
	} {
		if path != "" && !filepath.IsAbs(path) {
			list = append(list, "Using a relative path for '"+path+"' is deprecated and will be disallowed in a future release")
		}
	}
	if m := f.Prometheus; m != nil && m.Enabled {
		if m.ListenAddr == "" {
			list = append(list, "prometheus is enabled, but the listen address is empty, using '127.0.0.1'")
		}
		if m.ListenPort == 0 {
			list = append(list, "prometheus is enabled, but the listen port is empty, using '6060'")
		}
	}
	if server.CAPIWhitelistsPath != "" {
		list = append(list, "capi_whitelists_path is deprecated, please use centralized allowlists instead: see 'cscli allowlists'")
	}
	return list
}
