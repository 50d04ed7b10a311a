/* Sends UDP/IPv4 frames out of a device, flat out or at a steady rate, each with a serial number.
 *
 * Flat out it is the load of the small-frame benchmark: what counts is how many arrive, read from
 * the receiving device. At a steady rate (-r, frames a second, sent in bursts of one millisecond)
 * frame_count at the far end tells which serial numbers are missing.
 *
 * The serial number, 32 bits in network order, opens the UDP payload; a frame of 64 bytes on the
 * wire is 60 here, the device adds the check sequence. Prints the number of frames offered.
 *
 * usage: frame_gen [-r RATE] DEVICE SECONDS FRAME_BYTES SRC_MAC DST_MAC SRC_IP DST_IP
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, SMALLEST = 60, LARGEST = 1514, DISCARD_PORT = 9, SOURCE_PORT = 40000 };
enum { MILLISECOND = 1000000, SECOND = 1000000000 };

struct __attribute__((packed)) frame {
    struct ether_header ethernet;
    struct iphdr ip;
    struct udphdr udp;
    uint32_t serial;
    char padding[LARGEST];
};

static struct frame frames[BATCH];
static struct mmsghdr messages[BATCH];
static uint32_t offered;

static int open_device(const char *device)
{
    int fd = socket(AF_PACKET, SOCK_RAW, 0), yes = 1;
    struct sockaddr_ll out = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(device)};

    if (fd < 0 || bind(fd, (struct sockaddr *)&out, sizeof out) < 0)
        err(1, "%s", device);
    if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes) < 0)
        err(1, "PACKET_QDISC_BYPASS");
    return fd;
}

static uint16_t header_checksum(const struct iphdr *ip)
{
    uint16_t word;
    uint32_t sum = 0;

    for (unsigned at = 0; at < sizeof *ip; at += sizeof word) {
        memcpy(&word, (const char *)ip + at, sizeof word);
        sum += word;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return ~(sum + (sum >> 16));
}

static void build_frame(struct frame *frame, int size, char **address)
{
    struct in_addr from = {inet_addr(address[2])}, to = {inet_addr(address[3])};
    int ip_size = size - sizeof frame->ethernet;

    frame->ethernet.ether_type = htons(ETHERTYPE_IP);
    memcpy(frame->ethernet.ether_shost, ether_aton(address[0]), ETH_ALEN);
    memcpy(frame->ethernet.ether_dhost, ether_aton(address[1]), ETH_ALEN);
    frame->ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP,
                               .tot_len = htons(ip_size), .saddr = from.s_addr, .daddr = to.s_addr};
    frame->ip.check = header_checksum(&frame->ip);
    frame->udp.source = htons(SOURCE_PORT);
    frame->udp.dest = htons(DISCARD_PORT);
    frame->udp.len = htons(ip_size - sizeof frame->ip);
}

static void build_batch(int size, char **address)
{
    static struct iovec vectors[BATCH];

    for (int i = 0; i < BATCH; i++) {
        build_frame(&frames[i], size, address);
        vectors[i] = (struct iovec){&frames[i], size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
}

/* A frame the device refuses spends its serial number too: a switch that lets the device's queue
 * run full has lost that frame. */
static void send_batch(int fd, int count)
{
    for (int i = 0; i < count; i++)
        frames[i].serial = htonl(offered + i);

    int taken = sendmmsg(fd, messages, count, 0);

    offered += taken > 0 ? taken : 1;
}

static int64_t nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static void send_flat_out(int fd, int64_t until)
{
    while (nanoseconds() < until)
        send_batch(fd, BATCH);
}

/* What is due by the clock is sent; after a stall it catches up, so the total stays exact. */
static void send_steadily(int fd, int64_t start, int64_t until, double rate)
{
    for (int64_t tick = start; tick < until; tick += MILLISECOND) {
        struct timespec at = {tick / SECOND, tick % SECOND};
        uint32_t due = (uint32_t)((tick + MILLISECOND - start) * rate / SECOND);

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        while (offered < due)
            send_batch(fd, due - offered < BATCH ? due - offered : BATCH);
    }
}

int main(int argc, char **argv)
{
    double rate = 0;
    int option;

    while ((option = getopt(argc, argv, "r:")) != -1) {
        if (option != 'r')
            return 2;
        rate = atof(optarg);
    }
    if (argc - optind != 7)
        errx(2, "usage: frame_gen [-r RATE] DEVICE SECONDS FRAME_BYTES SRC_MAC DST_MAC SRC_IP DST_IP");
    argv += optind;

    int size = atoi(argv[2]), fd = open_device(argv[0]);
    int64_t start = nanoseconds(), until = start + (int64_t)(atof(argv[1]) * SECOND);

    if (size < SMALLEST || size > LARGEST)
        errx(2, "FRAME_BYTES: %d to %d", SMALLEST, LARGEST);
    build_batch(size, argv + 3);
    if (rate > 0)
        send_steadily(fd, start, until, rate);
    else
        send_flat_out(fd, until);
    printf("%u\n", offered);
}
