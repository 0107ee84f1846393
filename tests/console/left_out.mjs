// The wire tests that are about what POSIX has and a console has not, by title, with the reason why
// each is left out when platform/template.c is tested. The rest of tests/wire must pass.
export default {
  'flood: at full rate memory is flat and what the kernel drops is told':
    'no console tells how many datagrams it dropped (SO_RXQ_OVFL); the attack test floods instead',
  'crowd: a reader that is given up is reset, its cut message not ended':
    'behind what nobody has read yet Linux tells this reset as an end; console_test sees the reset',
};
