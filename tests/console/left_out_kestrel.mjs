// The same for Kestrel, which has less than Nova.
import leftOut from './left_out.mjs';

export default {
  ...leftOut,
  'udp: on IPv6, and from the address that was asked': 'Kestrel knows IPv4 alone',
};
