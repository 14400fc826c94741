#include "common.h"

#include <stdarg.h>
#include <sys/random.h>

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

uint64_t clock_ns(clockid_t which) {
    struct timespec time;
    clock_gettime(which, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

void *grown(void *memory, size_t bytes) {
    memory = realloc(memory, bytes);
    if (!memory) die("out of memory");
    return memory;
}

void make_room(struct bytes *bytes, size_t more) {
    if (bytes->size + more <= bytes->room) return;
    bytes->room = (bytes->size + more) * 2;
    bytes->at = grown(bytes->at, bytes->room);
}

void append(struct bytes *bytes, const void *text, size_t size) {
    make_room(bytes, size);
    memcpy(bytes->at + bytes->size, text, size);
    bytes->size += size;
}

void append_text(struct bytes *bytes, const char *text) { append(bytes, text, strlen(text)); }

void append_number(struct bytes *bytes, uint64_t number) {
    char digits[20];
    size_t place = sizeof digits;
    do digits[--place] = (char)('0' + number % 10);
    while (number /= 10);
    append(bytes, digits + place, sizeof digits - place);
}

void free_bytes(struct bytes *bytes) {
    free(bytes->at);
    *bytes = (struct bytes){0};
}

static uint64_t dice;

void seed_dice(const char *seed) {
    if (seed) dice = strtoull(seed, NULL, 10);
    else if (getrandom(&dice, sizeof dice, 0) != sizeof dice) die("getrandom: %s", strerror(errno));
}

uint64_t random_bits(void) { /* splitmix64 */
    uint64_t z = dice += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

double random_unit(void) { return (double)(random_bits() >> 11) * 0x1p-53; }
