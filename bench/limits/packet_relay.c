/* A lower bound for any user-space switch between two existing devices.
 *
 * One AF_PACKET socket a device, one recv() and one send() a frame, nothing in between.
 * Super-frames travel whole, behind a virtio-net header (PACKET_VNET_HDR).
 *
 * usage: packet_relay DEVICE DEVICE
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

enum { BUDGET = 64, VNET_HEADER = 10, LARGEST = VNET_HEADER + 65536, QUEUE_BYTES = 8 << 20 };

static void set(int fd, int level, int name, const void *value, socklen_t size)
{
    if (setsockopt(fd, level, name, value, size) < 0)
        err(1, "socket option %d", name);
}

static void tune(int fd, int index)
{
    const int yes = 1, queue = QUEUE_BYTES;
    const struct packet_mreq all = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};

    set(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof yes);
    set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
    set(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes);
    set(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all);
    set(fd, SOL_SOCKET, SO_RCVBUFFORCE, &queue, sizeof queue);
    set(fd, SOL_SOCKET, SO_SNDBUFFORCE, &queue, sizeof queue);
}

static int attach(const char *device)
{
    int index = if_nametoindex(device);
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
    struct sockaddr_ll everything = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};

    if (!index || fd < 0)
        err(1, "%s", device);
    tune(fd, index);
    if (bind(fd, (struct sockaddr *)&everything, sizeof everything) < 0)
        err(1, "%s", device);
    return fd;
}

static int forward(int in, int out)
{
    static char frame[LARGEST];
    int frames = 0;
    ssize_t length;

    while (frames < BUDGET && (length = recv(in, frame, sizeof frame, 0)) > 0) {
        send(out, frame, length, 0); /* refused frames are lost, as on a wire */
        frames++;
    }
    return frames;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        errx(2, "usage: packet_relay DEVICE DEVICE");

    int left = attach(argv[1]), right = attach(argv[2]);
    struct pollfd both[] = {{.fd = left, .events = POLLIN}, {.fd = right, .events = POLLIN}};

    for (;;)
        if (forward(left, right) + forward(right, left) == 0)
            poll(both, 2, -1);
}
