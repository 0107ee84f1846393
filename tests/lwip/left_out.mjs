// The wire tests that are not for lwIP behind a TAP device, by title, and why. crowd and flood are
// left out as a whole: they count on a system that keeps megabytes for each socket, and fill its
// queues; a board's TCP holds four segments, and who is slower is closed with 1013.
export default {
  'cli: what is wrong with the flags is exit code 2': 'the TAP has one address to bind to',
  'cli: a taken port is exit code 1': 'each server has a stack of its own, so no port is taken',
  'cli: IPv6 loopback is served': 'the TAP has IPv4 only',
  'udp: on IPv6, and from the address that was asked': 'the TAP has IPv4 only',
  'http: a Node agent keeps one connection for ten requests':
    'it asks for localhost, which a network namespace need not know',
  'limits: connections':
    'whom no record is left for is reset at once; an accept queue would have let it in first',
  'limits: out of descriptors the server waits without spinning, and goes on':
    'lwIP has no descriptors',
};
