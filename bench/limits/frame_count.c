/* Counts the serial numbers that frame_gen sent and that came in on a device.
 *
 * Prints "ready" when it listens, waits for the first frame, and once nothing has come for
 * SILENCE_MS prints one line of four numbers: how many distinct serial numbers came, how many
 * frames repeated one, how many came late (behind a higher number), and how many frames arrived
 * but found no room in this program's own socket.
 *
 * usage: frame_count DEVICE SILENCE_MS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { QUEUE_BYTES = 64 << 20, SERIALS = 1 << 24, DISCARD_PORT = 9 };

struct __attribute__((packed)) frame {
    struct ether_header ethernet;
    struct iphdr ip;
    struct udphdr udp;
    uint32_t serial;
};

static unsigned char seen[SERIALS / 8];
static unsigned distinct, again, late;

static int open_device(const char *device)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0), queue = QUEUE_BYTES, yes = 1;
    struct sockaddr_ll in = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
                             .sll_ifindex = if_nametoindex(device)};

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &queue, sizeof queue) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) < 0 ||
        bind(fd, (struct sockaddr *)&in, sizeof in) < 0)
        err(1, "%s", device);
    return fd;
}

static int is_ours(const struct frame *frame, ssize_t length)
{
    return length >= (ssize_t)sizeof *frame && frame->ethernet.ether_type == htons(ETHERTYPE_IP) &&
           frame->ip.protocol == IPPROTO_UDP && frame->udp.dest == htons(DISCARD_PORT);
}

static void note(uint32_t serial)
{
    static uint32_t expected;
    unsigned char bit = 1 << (serial & 7), *byte = &seen[(serial % SERIALS) >> 3];

    if (*byte & bit)
        again++;
    else
        distinct++;
    *byte |= bit;
    if (serial < expected)
        late++;
    else
        expected = serial + 1;
}

static unsigned overflowed(int fd)
{
    struct tpacket_stats statistics = {0};
    socklen_t size = sizeof statistics;

    getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size);
    return statistics.tp_drops;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        errx(2, "usage: frame_count DEVICE SILENCE_MS");

    int fd = open_device(argv[1]), silence = atoi(argv[2]);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    struct frame frame;
    ssize_t length;

    puts("ready");
    fflush(stdout);
    while (poll(&readable, 1, distinct ? silence : -1) > 0)
        while ((length = recv(fd, &frame, sizeof frame, 0)) > 0)
            if (is_ours(&frame, length))
                note(ntohl(frame.serial));
    printf("%u %u %u %u\n", distinct, again, late, overflowed(fd));
}
