/* sizes.h: how large this image is; lwIP's options and the program are made from it.  SPDX: MIT-0

   `tiny` is a LAN box in some 290 KB of RAM and 152 KiB of code; `small` (PRESET_SMALL) is what the
   board's 16 MB of PSRAM are for. */
#ifndef FIRMWARE_SIZES_H
#define FIRMWARE_SIZES_H

#ifdef PRESET_SMALL
#define PRESET_NAME "small"
#define PRESET MPS_PRESET_SMALL
#define CONNECTIONS 1000
#define REFUSALS 16
#define CLOSING_PCBS 48 /* connections that lwIP still remembers (TIME_WAIT) */
#define CORE_BYTES (9 * 1024 * 1024 + 64 * 1024)
#define BLOCK_SECTION ".bss.psram" /* see firmware.ld */
#define SEGMENTS 4096              /* of all connections together, unsent or unacknowledged */
#define HEAP_BYTES (128 * 1024)
#define NEIGHBOURS 100 /* addresses of the LAN that ARP remembers */
#else
#define PRESET_NAME "tiny"
#define PRESET MPS_PRESET_TINY
#define CONNECTIONS 16
#define REFUSALS 4
#define CLOSING_PCBS 8
#define CORE_BYTES (128 * 1024)
#define BLOCK_SECTION ".bss.blocks"
#define SEGMENTS 128
#define HEAP_BYTES (16 * 1024)
#define NEIGHBOURS 24
#endif

#endif
