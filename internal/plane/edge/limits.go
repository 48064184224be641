package edge

import (
	"runtime"
	"time"
)

// Limits that hold for every site. A site's own limits only narrow them.
const (
	maxHeaderBytes    = 64 << 10 // bytes of the request line and all header fields
	maxHeaderFields   = 100      // header fields of one request
	headerTimeout     = 10 * time.Second
	handshakeTimeout  = 10 * time.Second
	acceptPause       = 50 * time.Millisecond // after an error of accept that passes
	keepAlive         = 60 * time.Second      // idle connection between two requests
	bodyGrace         = 10 * time.Second      // waiting for a body before its rate counts
	bodyRate          = 500                   // least bytes for each second of waiting
	proxyTimeout      = 5 * time.Second       // for the whole PROXY header
	dialTimeout       = 5 * time.Second
	drainTimeout      = 5 * time.Second // for requests in progress when the edge stops
	maxStreams        = 250             // concurrent HTTP/2 streams of one connection
	maxFrame          = 16 << 10        // bytes of an HTTP/2 frame, the least that may be set (RFC 9113 section 4.2)
	memoryBody        = 128 << 10       // bytes of one body kept in memory; the rest goes to TempDir
	maxText           = 16 << 20        // bytes of a body that is not multipart, which the engine holds as one string
	maxBody           = 1<<30 - 1       // the engine refuses a body of 1 GiB or more
	maxParts          = 512             // parts of one multipart body; each file part costs a temporary file
	maxOriginHeader   = 64 << 10        // bytes of an origin's response header
	heavyBody         = 32 << 10        // bytes from which inspection takes a slot of the small heavy lane
	copySize          = 32 << 10
	restAfterFailure  = 3 * time.Second // an origin that refused a connection is avoided so long
	welcomeEvery      = time.Second     // a connection that is passed through is judged again
	breakerRest       = 5 * time.Second // before an open circuit breaker lets requests try
	healthInterval    = 10 * time.Second
	healthLeast       = 10 * time.Millisecond // shorter intervals are taken for this; the kind asks for 1 s
	healthTimeout     = 5 * time.Second       // of one check, at most its interval
	healthAnswer      = 4 << 10               // bytes of a check's answer that are read
	failuresUntilDown = 2                     // checks in a row
	idleOriginConn    = 60 * time.Second
	idleOriginConns   = 256 // for each origin
	maxRulesInEvent   = 32
	maxMatchInEvent   = 200 // bytes
	maxPathInEvent    = 512 // bytes
	certificateMargin = time.Minute
)

// bounds are the budgets of the whole process: what all clients together may
// cost. They are a struct so that tests reach each limit cheaply.
type bounds struct {
	connections int           // open client connections, default 20000
	requests    int64         // requests in progress, default 20000
	spoolMemory int64         // bytes of request bodies in memory, default 256 MiB
	spoolDisk   int64         // bytes of request bodies in TempDir, default 8 GiB
	slots       int           // inspections at once, default 2 for each CPU
	heavySlots  int           // of bodies from heavyBody, default half of the CPUs
	checks      int           // health checks at once, default 128
	wait        time.Duration // for a slot, default 10 s
	inspection  time.Duration // one request's time in the engine, default 10 s
	headerWait  time.Duration // for the whole header, default headerTimeout
	proxyWait   time.Duration // for the PROXY header, default proxyTimeout
	bodyGrace   time.Duration // default bodyGrace
	bodyRate    int64         // default bodyRate
	rest        time.Duration // default restAfterFailure
}

func (b bounds) withDefaults() bounds {
	cpus := runtime.GOMAXPROCS(0)
	d := bounds{
		connections: 20000, requests: 20000,
		spoolMemory: 256 << 20, spoolDisk: 8 << 30,
		slots: 2 * cpus, heavySlots: max(1, cpus/2), checks: 128,
		wait: 10 * time.Second, inspection: 10 * time.Second,
		headerWait: headerTimeout, proxyWait: proxyTimeout, rest: restAfterFailure,
		bodyGrace: bodyGrace, bodyRate: bodyRate,
	}
	return bounds{
		connections: or(b.connections, d.connections), requests: or(b.requests, d.requests),
		spoolMemory: or(b.spoolMemory, d.spoolMemory), spoolDisk: or(b.spoolDisk, d.spoolDisk),
		slots: or(b.slots, d.slots), heavySlots: or(b.heavySlots, d.heavySlots), checks: or(b.checks, d.checks),
		wait: or(b.wait, d.wait), inspection: or(b.inspection, d.inspection),
		headerWait: or(b.headerWait, d.headerWait), proxyWait: or(b.proxyWait, d.proxyWait), rest: or(b.rest, d.rest),
		bodyGrace: or(b.bodyGrace, d.bodyGrace), bodyRate: or(b.bodyRate, d.bodyRate),
	}
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
