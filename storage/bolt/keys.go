package bolt

import "encoding/binary"

// schema is the version of the layout below. It changes when a bucket or a
// key changes its meaning; a record that only gets a field changes its own
// version byte instead (records.go).
//
//	1	the first one
//	2	alert_heads, allowlists
const schema = 2

// The buckets of the file. IDs are 8 bytes, big-endian, so that the order of
// keys is the order of commits; the sequence of a bucket is the last ID given,
// which survives the deletion of its newest record.
//
//	meta        "schema"                     uvarint
//	machines    machine ID                   machine record
//	bouncers    name                         bouncer record
//	alerts      alert ID                     alert record, without its decisions
//	alert_heads alert ID                     when it was made, how many decisions
//	alert_uuid  uvarint length of machine ID, machine ID, UUID
//	                                         alert ID
//	decisions   ID of the last of them       record of decisions of one alert
//	allowlists  name                         allowlist record, with its items
//	values      name                         as given
//
// The decisions of one alert have consecutive IDs; the alert record holds the
// first one and their number.
var (
	metaBucket       = []byte("meta")
	machinesBucket   = []byte("machines")
	bouncersBucket   = []byte("bouncers")
	alertsBucket     = []byte("alerts")
	alertHeadsBucket = []byte("alert_heads")
	alertUUIDBucket  = []byte("alert_uuid")
	decisionsBucket  = []byte("decisions")
	allowlistsBucket = []byte("allowlists")
	valuesBucket     = []byte("values")

	schemaKey = []byte("schema")
)

// buckets lists all of them, to be made in a new file and checked in an old one.
var buckets = []bucket{
	{metaBucket, 1}, {machinesBucket, 1}, {bouncersBucket, 1}, {alertsBucket, 1}, {alertUUIDBucket, 1}, {decisionsBucket, 1},
	{valuesBucket, 1}, {alertHeadsBucket, 2}, {allowlistsBucket, 2},
}

type bucket struct {
	name  []byte
	since uint64 // schema
}

// fill is how full pages become that are written in rising order of keys, as
// alerts and decisions are: nothing is ever put between them, so the half
// that bbolt leaves free by default would stay so.
const fill = 0.95

func idKey(id int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

// keyID is the inverse of idKey; a key of another length gives 0, which is no ID.
func keyID(key []byte) int64 {
	if len(key) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(key))
}

func uuidKey(machineID, uuid string) []byte {
	key := make([]byte, 0, binary.MaxVarintLen16+len(machineID)+len(uuid))
	key = binary.AppendUvarint(key, uint64(len(machineID)))
	return append(append(key, machineID...), uuid...)
}
