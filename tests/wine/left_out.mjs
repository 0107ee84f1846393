// Wire tests that are not for Windows, or not for wine, and why. They are left out of that run.
export default {
  'limits: out of descriptors the server waits without spinning, and goes on':
    'sockets are not counted among open files on Windows',
  'flood: garbage at half of what the server drains leaves players alone':
    'it is about speed, and that of wine is not that of Windows',
  'flood: at full rate memory is flat and what the kernel drops is told':
    'Windows does not tell how many datagrams it dropped',
  'udp: on IPv6, and from the address that was asked':
    'wine sends from the address it likes, whatever IP_PKTINFO says',
  'abuse: a reload tells of secrets and lists that wait for a restart':
    'the admin route in place of SIGHUP wants a token, and this test changes the secret',
};
