/* What every part needs: an end with a message, clocks, memory, bytes that grow, chance. */

#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND 1000000000ull

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
uint64_t clock_ns(clockid_t which);
void *grown(void *memory, size_t bytes); /* realloc that does not fail */

struct bytes {
    char *at;
    size_t size, room;
};

void make_room(struct bytes *bytes, size_t more);
void append(struct bytes *bytes, const void *text, size_t size);
void append_text(struct bytes *bytes, const char *text);
void append_number(struct bytes *bytes, uint64_t number);
void free_bytes(struct bytes *bytes);

void seed_dice(const char *seed); /* or by the system, without one */
uint64_t random_bits(void);
double random_unit(void); /* from 0 to 1, 1 left out */
