/* lan9118.c: driver for the SMSC LAN9118 without DMA; see lan9118.h.  SPDX: MIT-0

   The controller has one FIFO of words in each direction, little-endian, and beside it one of
   status words, one each frame. A frame goes by in these words, so none is kept anywhere: what is
   received is read straight into pbufs, and what is sent has left its pbufs when the call returns.
   Register names are those of the data sheet. */
#include "lan9118.h"

#include "board.h"

#include "lwip/etharp.h"
#include "lwip/pbuf.h"
#include "lwip/stats.h"
#include "netif/ethernet.h"

#include <string.h>

#define BASE 0x40200000
#define RX_DATA_FIFO 0x00
#define TX_DATA_FIFO 0x20
#define RX_STATUS_FIFO 0x40
#define TX_STATUS_FIFO 0x48
#define IRQ_CFG 0x54
#define INT_STS 0x58
#define INT_EN 0x5c
#define BYTE_TEST 0x64
#define FIFO_INT 0x68
#define RX_CFG 0x6c
#define TX_CFG 0x70
#define HW_CFG 0x74
#define RX_FIFO_INF 0x7c
#define TX_FIFO_INF 0x80
#define MAC_CSR_CMD 0xa4
#define MAC_CSR_DATA 0xa8
#define AFC_CFG 0xac

#define BYTE_TEST_VALUE 0x87654321u
#define HW_CFG_RESET 1u
#define HW_CFG_TX_5KB 0x00050000u /* and the rest for receiving */
#define TX_CFG_DUMP 0xc000u
#define TX_CFG_ON 2u
#define AFC_CFG_VALUE 0x006e3740u  /* flow control as the data sheet suggests */
#define FIFO_INT_VALUE 0x48000000u /* an interrupt with the first frame */
#define IRQ_CFG_VALUE 0x111u       /* on, active high, push-pull */
#define INT_RSFL 8u                /* the FIFO of receive status holds something */

#define MAC_BUSY 0x80000000u
#define MAC_READ 0x40000000u
#define MAC_CR 1u
#define MAC_ADDRH 2u
#define MAC_ADDRL 3u
#define MAC_CR_VALUE 0x0010000cu /* full duplex, transmitter and receiver on */

#define RX_STATUS_ERROR 0x8000u
#define TX_FIRST_AND_LAST 0x3000u /* segments of a frame: it has one */
#define TX_OVERHEAD 16u           /* bytes of the FIFO that a frame takes beside its own */
#define CRC_BYTES 4u
#define FRAME_BYTES_MAX 1514u

#define WAIT_US 10000 /* for the controller; sending a full FIFO takes half a millisecond */
#define FRAMES_MAX 16 /* in one call, then the server has its turn */

static uint32_t get(uint32_t offset) {
    return *board_register(BASE + offset);
}

static void set(uint32_t offset, uint32_t value) {
    *board_register(BASE + offset) = value;
}

/* Until all bits of `mask` are 0; false when that takes too long. */
static bool wait_clear(uint32_t offset, uint32_t mask) {
    uint64_t end = board_now_us() + WAIT_US;
    while (get(offset) & mask) {
        if (board_now_us() > end) {
            return false;
        }
    }
    return true;
}

static void mac_write(uint32_t number, uint32_t value) {
    wait_clear(MAC_CSR_CMD, MAC_BUSY);
    set(MAC_CSR_DATA, value);
    set(MAC_CSR_CMD, MAC_BUSY | number);
    wait_clear(MAC_CSR_CMD, MAC_BUSY);
}

static uint32_t mac_read(uint32_t number) {
    wait_clear(MAC_CSR_CMD, MAC_BUSY);
    set(MAC_CSR_CMD, MAC_BUSY | MAC_READ | number);
    wait_clear(MAC_CSR_CMD, MAC_BUSY);
    return get(MAC_CSR_DATA);
}

/* The address is the EEPROM's, or one of those that everybody may use. */
static void address_take(struct netif *netif) {
    static const uint8_t fallback[6] = {0x02, 0, 10, 0, 2, 15};
    uint32_t low = mac_read(MAC_ADDRL), high = mac_read(MAC_ADDRH) & 0xffff;
    netif->hwaddr_len = sizeof fallback;
    if ((low | high) == 0 || (low == UINT32_MAX && high == 0xffff)) {
        memcpy(netif->hwaddr, fallback, sizeof fallback);
        memcpy(&low, fallback, 4);
        high = (uint32_t)fallback[4] | (uint32_t)fallback[5] << 8;
        mac_write(MAC_ADDRL, low);
        mac_write(MAC_ADDRH, high);
    }
    memcpy(netif->hwaddr, &low, 4);
    memcpy(netif->hwaddr + 4, &high, 2);
}

/* Words are put together over the ends of pbufs. */
struct packer {
    uint32_t word;
    unsigned bytes; /* of it */
};

static void pack(struct packer *p, const uint8_t *from, size_t count) {
    while (count) {
        if (p->bytes == 0 && count >= 4) {
            uint32_t word;
            memcpy(&word, from, 4);
            set(TX_DATA_FIFO, word);
            from += 4;
            count -= 4;
            continue;
        }
        p->word |= (uint32_t)*from++ << 8 * p->bytes++;
        count--;
        if (p->bytes == 4) {
            set(TX_DATA_FIFO, p->word);
            *p = (struct packer){0, 0};
        }
    }
}

/* Nobody asks how sending went, but the words that tell must not pile up. */
static void statuses_drop(void) {
    for (uint32_t left = get(TX_FIFO_INF) >> 16 & 0xff; left; left--) {
        (void)get(TX_STATUS_FIFO);
    }
}

/* A FIFO that stays full is a cable that was pulled: the frame is lost as on the way. */
static bool room_wait(uint32_t bytes) {
    uint64_t end = board_now_us() + WAIT_US;
    while ((get(TX_FIFO_INF) & 0xffff) < bytes + TX_OVERHEAD) {
        if (board_now_us() > end) {
            return false;
        }
    }
    return true;
}

static err_t send(struct netif *netif, struct pbuf *chain) {
    uint32_t bytes = chain->tot_len;
    struct packer packer = {0, 0};
    (void)netif;
    statuses_drop();
    if (bytes > FRAME_BYTES_MAX || !room_wait(bytes)) {
        LINK_STATS_INC(link.drop);
        return ERR_IF;
    }
    set(TX_DATA_FIFO, TX_FIRST_AND_LAST | bytes);
    set(TX_DATA_FIFO, bytes << 16 | bytes);
    for (const struct pbuf *p = chain; p; p = p->next) {
        pack(&packer, p->payload, p->len);
    }
    if (packer.bytes) {
        set(TX_DATA_FIFO, packer.word);
    }
    LINK_STATS_INC(link.xmit);
    return ERR_OK;
}

err_t lan9118_init(struct netif *netif) {
    if (get(BYTE_TEST) != BYTE_TEST_VALUE) {
        return ERR_IF;
    }
    set(HW_CFG, HW_CFG_RESET);
    if (!wait_clear(HW_CFG, HW_CFG_RESET)) {
        return ERR_IF;
    }
    set(HW_CFG, HW_CFG_TX_5KB);
    set(INT_EN, 0);
    set(INT_STS, UINT32_MAX);
    set(RX_CFG, 0);
    set(TX_CFG, TX_CFG_DUMP);
    set(AFC_CFG, AFC_CFG_VALUE);
    set(FIFO_INT, FIFO_INT_VALUE);
    set(IRQ_CFG, IRQ_CFG_VALUE);
    board_interrupt_on(BOARD_ETHERNET); /* not before: after a reset the line is active low */
    address_take(netif);
    set(TX_CFG, TX_CFG_ON);
    mac_write(MAC_CR, MAC_CR_VALUE);
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->mtu = 1500;
    netif->flags =
        NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    netif->output = etharp_output;
    netif->linkoutput = send;
    return ERR_OK;
}

/* Read out, not skipped: the controller can only skip frames of a certain length. */
static void frame_drop(uint32_t bytes) {
    for (uint32_t words = (bytes + 3) / 4; words; words--) {
        (void)get(RX_DATA_FIFO);
    }
}

/* All pbufs but the last hold whole words, and the last one is as long as the others: there is room
   for the last word and what it has beyond the frame. */
static void frame_read(struct pbuf *chain) {
    for (struct pbuf *p = chain; p; p = p->next) {
        uint8_t *to = p->payload;
        for (uint32_t at = 0; at < p->len; at += 4) {
            uint32_t word = get(RX_DATA_FIFO);
            memcpy(to + at, &word, 4);
        }
    }
    (void)get(RX_DATA_FIFO); /* what is left of the CRC */
}

static void frame_take(struct netif *netif) {
    uint32_t status = get(RX_STATUS_FIFO);
    uint32_t bytes = status >> 16 & 0x3fff;
    bool good = !(status & RX_STATUS_ERROR) && bytes > CRC_BYTES + SIZEOF_ETH_HDR &&
                bytes <= FRAME_BYTES_MAX + CRC_BYTES;
    struct pbuf *chain = NULL;
    if (good) {
        chain = pbuf_alloc(PBUF_RAW, (u16_t)(bytes - CRC_BYTES), PBUF_POOL);
    }
    if (!chain) {
        frame_drop(bytes);
        if (good) {
            LINK_STATS_INC(link.memerr);
        } else {
            LINK_STATS_INC(link.err);
        }
        return;
    }
    frame_read(chain);
    LINK_STATS_INC(link.recv);
    if (netif->input(chain, netif) != ERR_OK) {
        pbuf_free(chain);
    }
}

static bool frame_waits(void) {
    return get(RX_FIFO_INF) >> 16 & 0xff;
}

void lan9118_receive(struct netif *netif) {
    for (int i = 0; i < FRAMES_MAX && frame_waits(); i++) {
        frame_take(netif);
    }
}

/* Looked at again behind clearing: a frame that comes between leaves its mark. */
bool lan9118_watch(void) {
    if (frame_waits()) {
        return true;
    }
    set(INT_STS, INT_RSFL);
    set(INT_EN, INT_RSFL);
    return frame_waits();
}

void lan9118_interrupt(void) {
    set(INT_EN, 0);
}
