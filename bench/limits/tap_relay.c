/* A lower bound for any switch between two TAP devices.
 *
 * Whatever reads one TAP and writes another must pay one read() and one write() a frame. This
 * program pays that and nothing else: no header is looked at, no table consulted. With -v the
 * devices carry virtio-net headers and take every offload the kernel knows, so a "frame" may be
 * a 64 KiB super-frame. With -s it keeps polling for that many microseconds after the last frame
 * before it sleeps, which is what buys a short round trip.
 *
 * usage: tap_relay [-v] [-s SPIN_US] TAP TAP
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum { BUDGET = 64, VNET_HEADER = 12, LARGEST = VNET_HEADER + 65536 };

static const unsigned offload_choices[] = {
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6, /* Linux 6.2 and later */
    TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
};

static void accept_offloads(int tap)
{
    int header = VNET_HEADER;

    if (ioctl(tap, TUNSETVNETHDRSZ, &header) < 0)
        err(1, "TUNSETVNETHDRSZ");
    for (unsigned i = 0; i < sizeof offload_choices / sizeof *offload_choices; i++)
        if (ioctl(tap, TUNSETOFFLOAD, (unsigned long)offload_choices[i]) == 0)
            return;
    err(1, "TUNSETOFFLOAD");
}

static int attach(const char *device, int vnet)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

    if (vnet)
        request.ifr_flags |= IFF_VNET_HDR;
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) < 0)
        err(1, "%s", device);
    if (vnet)
        accept_offloads(tap);
    return tap;
}

/* Forward what waits, at most BUDGET frames. A frame the far device refuses (it is down, its
 * queue is full) is lost, as on a wire. */
static int forward(int in, int out)
{
    static char frame[LARGEST];
    int frames = 0;
    ssize_t length;

    while (frames < BUDGET && (length = read(in, frame, sizeof frame)) > 0) {
        ssize_t written = write(out, frame, length);
        (void)written;
        frames++;
    }
    return frames;
}

static int64_t microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void relay(int left, int right, int64_t spin)
{
    struct pollfd both[] = {{.fd = left, .events = POLLIN}, {.fd = right, .events = POLLIN}};
    int64_t awake_until = 0;

    for (;;) {
        int frames = forward(left, right) + forward(right, left);

        if (frames && spin)
            awake_until = microseconds() + spin;
        else if (!frames && (!spin || microseconds() > awake_until))
            poll(both, 2, -1);
    }
}

int main(int argc, char **argv)
{
    int vnet = 0, option;
    int64_t spin = 0;

    while ((option = getopt(argc, argv, "vs:")) != -1) {
        if (option == 'v')
            vnet = 1;
        else if (option == 's')
            spin = atoll(optarg);
        else
            return 2;
    }
    if (argc - optind != 2)
        errx(2, "usage: tap_relay [-v] [-s SPIN_US] TAP TAP");
    relay(attach(argv[optind], vnet), attach(argv[optind + 1], vnet), spin);
}
