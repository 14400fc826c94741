/* What is found, and how it is told. */

#pragma once
#include "common.h"

#define KINDS_MAX 64

struct kinds {
    char *names[KINDS_MAX];
    uint64_t counts[KINDS_MAX];
};

struct slice {
    uint64_t sent, failed, updates;
    size_t first; /* where the latencies of what was done in it begin */
};

extern struct found {
    uint64_t sent, failed, transitions, bytes;
    uint64_t updates, update_bytes; /* Transitions with something in them, texts to listeners, answers over HTTP */
    uint32_t *latencies; /* of what was done, in tenths of a microsecond, in the order in which it was done */
    size_t done, room;
    struct kinds failures, closes;
    struct slice *slices;
    size_t slices_count;
    double seconds, cpu_seconds, opening_seconds;
} found, report; /* so far, and when measuring ended */

void count_kind(struct kinds *kinds, const char *name, uint64_t more);
void add_latency(uint64_t ns);
void add_update(size_t bytes);
void open_slice(void);
void forget(void); /* what was found while it warmed up */
void print_report(uint64_t unanswered, bool slices);
