/* What the load is to be. */

#pragma once
#include "templates.h"

#define STEPS_MAX 32
#define INFLIGHT_MAX (1 << 16)

enum protocol { SYNC, RAW, HTTP };
enum until { RESPONSE, TRANSITION, LAST };

struct step {
    double rate;
    uint64_t duration;
};

extern struct options {
    const char *host, *path, *listen_path, *mutation, *http, *query;
    int port;
    enum protocol protocol;
    enum until until;
    uint32_t clients, listeners, queries, inflight;
    bool callers_listen, announce, slices;
    uint64_t calls, warmup, seconds, grace, backoff;
    struct step steps[STEPS_MAX];
    int steps_count;
    struct template args, query_args;
} options; /* times in nanoseconds */

void parse_options(int count, char **words);
