package api

import "time"

// RegisterRequest is the body of POST /v1/watchers.
type RegisterRequest struct {
	MachineID         string `json:"machine_id"`
	Password          string `json:"password"`
	RegistrationToken string `json:"registration_token,omitempty"`
}

// LoginRequest is the body of POST /v1/watchers/login.
type LoginRequest struct {
	MachineID string   `json:"machine_id"`
	Password  string   `json:"password"`
	Scenarios []string `json:"scenarios"`
}

// LoginResponse answers a login. Expire is RFC 3339.
type LoginResponse struct {
	Code   int    `json:"code"`
	Expire string `json:"expire"`
	Token  string `json:"token"`
}

// BouncerRequest is the body of POST /v1/bouncers, our own extension.
type BouncerRequest struct {
	Name              string `json:"name"`
	RegistrationToken string `json:"registration_token"`
}

// BouncerResponse holds the new key; it can't be read again.
type BouncerResponse struct {
	Key string `json:"api_key"`
}

// ErrorResponse is how the server says no.
type ErrorResponse struct {
	Code    int    `json:"code,omitempty"` // answers about tokens only
	Message string `json:"message"`
}

// DeletedResponse answers a deletion: the count is a text on the wire.
type DeletedResponse struct {
	Deleted string `json:"nbDeleted"`
}

// Machine is a machine as operators' commands see it. Times are zero when
// the thing never happened.
type Machine struct {
	Name          string           `json:"name"`
	IP            string           `json:"ip_address"`
	AuthType      string           `json:"auth_type"` // "password" or "tls"
	Validated     bool             `json:"validated"`
	Version       string           `json:"version"`
	OSName        string           `json:"os_name"`
	OSVersion     string           `json:"os_version"`
	OSFamily      string           `json:"os_family"`
	FeatureFlags  []string         `json:"feature_flags,omitempty"`
	Datasources   map[string]int64 `json:"datasources,omitempty"`
	HubItems      HubItems         `json:"hub_items,omitempty"`
	Scenarios     []string         `json:"scenarios,omitempty"`
	Created       time.Time        `json:"created_at"`
	Updated       time.Time        `json:"updated_at"`
	LastPush      time.Time        `json:"last_push,omitzero"`
	LastHeartbeat time.Time        `json:"last_heartbeat,omitzero"`
}

// Bouncer is a bouncer as operators' commands see it.
type Bouncer struct {
	Name         string    `json:"name"`
	IP           string    `json:"ip_address"`
	AuthType     string    `json:"auth_type"` // "api-key" or "tls"
	Type         string    `json:"type"`
	Version      string    `json:"version"`
	OSName       string    `json:"os_name"`
	OSVersion    string    `json:"os_version"`
	OSFamily     string    `json:"os_family"`
	FeatureFlags []string  `json:"feature_flags,omitempty"`
	AutoCreated  bool      `json:"auto_created"` // "name@ip", made because hosts share a key
	Created      time.Time `json:"created_at"`
	Updated      time.Time `json:"updated_at"`
	LastPull     time.Time `json:"last_pull,omitzero"`
}

// AddMachineRequest is the body of POST /admin/v1/machines.
type AddMachineRequest struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Force    bool   `json:"force,omitempty"` // replace a machine of that name
}

// AddBouncerRequest is the body of POST /admin/v1/bouncers. Without a key the
// server makes one.
type AddBouncerRequest struct {
	Name string `json:"name"`
	Key  string `json:"key,omitempty"`
}

// AddAllowlistRequest is the body of POST /admin/v1/allowlists.
type AddAllowlistRequest struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// AllowRequest is the body of POST /admin/v1/allowlists/{name}/add.
type AllowRequest struct {
	Items []AllowRequestItem `json:"items"`
}

// AllowRequestItem is an address or a range to be put on a list.
type AllowRequestItem struct {
	Value   string    `json:"value"`
	Comment string    `json:"comment,omitempty"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// AllowResponse says what became of the items.
type AllowResponse struct {
	Added  int      `json:"added"`
	Known  []string `json:"known,omitempty"` // values that were on the list already
	Lifted int      `json:"lifted"`          // decisions that have ended
}

// DisallowRequest is the body of POST /admin/v1/allowlists/{name}/remove.
type DisallowRequest struct {
	Values []string `json:"values"`
}

// DisallowResponse says how many items there were.
type DisallowResponse struct {
	Removed int `json:"removed"`
}

// FlushRequest is the body of POST /admin/v1/alerts/flush.
type FlushRequest struct {
	MaxItems int64  `json:"max_items"`
	MaxAge   string `json:"max_age"` // Go duration, or with days
}

// FlushResponse says how many alerts are gone.
type FlushResponse struct {
	Deleted int `json:"deleted"`
}
