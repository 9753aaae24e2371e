package remediate

import "cs/decisions"

// Classes of origins, the most important first: what a person asked for is
// the last to be shed when the packet filter is full.
const (
	classManual = iota
	classLocal
	classLists
	classCommunity
	classes
)

// maxOrigins bounds the origin keys, because each costs a counter in the
// kernel. Later ones share the key "other".
const maxOrigins = 256

const otherOrigin = "other"

type originName struct{ origin, scenario string }

// origins numbers the origin keys of decisions.
type origins struct {
	ids   map[originName]uint8
	keys  []string
	class []uint8
}

// id returns the number of the origin key of decisions: their origin, with the
// list's name behind it for subscribed lists ("lists:tor-exit").
func (o *origins) id(origin, scenario string) uint8 {
	name := originName{origin: origin}
	if origin == decisions.OriginLists {
		name.scenario = scenario
	}
	if id, ok := o.ids[name]; ok {
		return id
	}
	if o.ids == nil {
		o.ids = make(map[originName]uint8)
		o.keys = append(o.keys, otherOrigin)
		o.class = append(o.class, classLists)
	}
	if len(o.keys) >= maxOrigins {
		return 0
	}
	key := name.origin
	if name.scenario != "" {
		key += ":" + name.scenario
	}
	id := uint8(len(o.keys))
	o.ids[name] = id
	o.keys = append(o.keys, key)
	o.class = append(o.class, classOf(name.origin))
	return id
}

func classOf(origin string) uint8 {
	switch origin {
	case decisions.OriginCscli, decisions.OriginImport:
		return classManual
	case decisions.OriginLists:
		return classLists
	case decisions.OriginCAPI:
		return classCommunity
	}
	return classLocal
}
