/* The peer that positions by UDP are measured against: ENet, unreliable packets, relayed to the
   other members of a group of four. The index of a client is what it connects with.
   Usage: udp-enet   prints its port and runs until SIGTERM. */
#include <enet/enet.h>
#include <stdio.h>

#define GROUP 4
#define CLIENTS_MAX 4096

static ENetPeer *peers[CLIENTS_MAX];

static void relay(ENetPeer *from, const ENetPacket *in) {
    size_t index = (size_t)from->data - 1, first = index / GROUP * GROUP;
    ENetPacket *out = enet_packet_create(in->data, in->dataLength, 0);
    for (size_t i = first; i < first + GROUP; i++) {
        if (i != index && peers[i]) {
            enet_peer_send(peers[i], 0, out);
        }
    }
    if (out->referenceCount == 0) {
        enet_packet_destroy(out);
    }
}

static void handle(ENetEvent *event) {
    if (event->type == ENET_EVENT_TYPE_CONNECT && event->data < CLIENTS_MAX) {
        event->peer->data = (void *)((size_t)event->data + 1);
        peers[event->data] = event->peer;
    } else if (event->type == ENET_EVENT_TYPE_RECEIVE) {
        relay(event->peer, event->packet);
        enet_packet_destroy(event->packet);
    } else if (event->type == ENET_EVENT_TYPE_DISCONNECT && event->peer->data) {
        peers[(size_t)event->peer->data - 1] = NULL;
    }
}

int main(void) {
    ENetAddress address = {.host = ENET_HOST_ANY, .port = ENET_PORT_ANY};
    ENetEvent event;
    enet_initialize();
    enet_address_set_host_ip(&address, "127.0.0.1");
    ENetHost *host = enet_host_create(&address, CLIENTS_MAX - 1, 1, 0, 0);
    if (!host || enet_socket_get_address(host->socket, &address) != 0) {
        fprintf(stderr, "udp-enet: no socket\n");
        return 1;
    }
    enet_socket_set_option(host->socket, ENET_SOCKOPT_RCVBUF, 4 << 20);
    enet_socket_set_option(host->socket, ENET_SOCKOPT_SNDBUF, 4 << 20);
    printf("%u\n", (unsigned)address.port);
    fflush(stdout);
    for (;;) {
        int count = enet_host_service(host, &event, 1000);
        for (; count > 0; count = enet_host_check_events(host, &event)) {
            handle(&event);
        }
        enet_host_flush(host);
    }
}
