/*
 * A load client that is not the bottleneck: one thread, epoll, WebSocket frames by hand, messages from templates.
 *
 * It opens connections of two kinds. Callers call: mutations over the sync protocol, texts that are echoed (--raw), or
 * requests over HTTP (--http). Listeners only subscribe to queries. Calls are made in a closed loop, so many in
 * flight on each connection, or in an open one, at a rate that does not care for answers. What it found is one JSON
 * object on standard output. `load --help` lists the options; benchmarks/load.py is how the benchmarks use it.
 *
 * The phases: open every connection and get its first results; warm up; measure; wait for what is under way.
 */

#include "calls.h"
#include "protocol.h"

#include <math.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS 512
#define OPENING_MAX 64 /* a server's queue of new connections is short */
#define SLICE (SECOND / 10)

static int timer;
static uint32_t opened_next;
static uint64_t phase_end, slice_end, started, measured_from, cpu_from;

/* The open loop. */
static uint64_t arrival, step_end;
static int step;
static uint32_t arrival_next;

static void begin(enum phase next) {
    phase = next;
    if (phase == WARMING) {
        phase_end = now + options.warmup;
    } else if (phase == MEASURING) {
        forget();
        measured_from = now;
        cpu_from = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        phase_end = options.seconds ? now + options.seconds : UINT64_MAX;
        slice_end = now + SLICE;
        open_slice();
    } else if (phase == DRAINING) {
        open_slice();
        report = found;
        report.seconds = (double)(now - measured_from) / (double)SECOND;
        report.cpu_seconds = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_from) / (double)SECOND;
        phase_end = now + options.grace;
    }
}

/* The open loop: makes the calls that are due, each on the next connection that can take one. */
static void make_due_calls(void) {
    while (arrival <= now && !is_enough()) {
        while (step < options.steps_count - 1 && arrival >= step_end) step_end += options.steps[++step].duration;
        uint32_t tried = 0;
        struct connection *c;
        do c = &connections[arrival_next++ % options.clients];
        while (++tried < options.clients && (c->state != READY || c->next - c->oldest >= options.inflight));
        if (c->state == READY && c->next - c->oldest < options.inflight) {
            send_call(c, arrival);
        } else if (phase == MEASURING) {
            found.failed++;
            count_kind(&found.failures, "no connection could take it", 1);
        }
        arrival += (uint64_t)(-log(1 - random_unit()) / options.steps[step].rate * (double)SECOND) + 1;
    }
}

/* Does what is due, and gives when the next thing will be. */
static uint64_t keep_time(bool stopped) {
    if (phase == OPENING) {
        while (opening < OPENING_MAX && opened_next < connections_count) open_connection(&connections[opened_next++]);
        if (ready < connections_count) return now + SECOND;
        found.opening_seconds = (double)(now - started) / (double)SECOND;
        if (options.announce) printf("ready\n"), fflush(stdout);
        begin(options.warmup ? WARMING : MEASURING);
        arrival = now;
        step_end = now + options.warmup + options.steps[0].duration;
        for (uint32_t n = 0; n < options.clients; n++) fill(&connections[n]);
    }
    if (phase == WARMING && now >= phase_end) begin(MEASURING);
    bool ended = now >= phase_end || stopped || (is_enough() && !under_way);
    if (phase == MEASURING && ended) begin(DRAINING);
    if (phase == DRAINING && (!under_way || now >= phase_end)) begin(OVER);
    if (phase == OVER) return now;
    uint64_t next = phase_end;
    if (phase == MEASURING && options.slices) {
        for (; slice_end <= now; slice_end += SLICE) open_slice();
        next = slice_end < next ? slice_end : next;
    }
    if (ready + opening < connections_count)
        for (struct connection *c = connections; c < connections + connections_count; c++) {
            if (c->state == CLOSED && c->reopen_at <= now) open_connection(c);
            else if (c->state == CLOSED && c->reopen_at < next) next = c->reopen_at;
        }
    if (options.steps_count && phase != DRAINING) {
        make_due_calls();
        if (!is_enough() && arrival < next) next = arrival;
    }
    return next;
}

static void run(void) {
    struct epoll_event events[EVENTS];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &timer};
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    bool until_end = !options.seconds, stopped = false;
    event.data.ptr = stdin;
    if (until_end && epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event)) die("--seconds 0 needs a pipe as input");
    started = now = clock_ns(CLOCK_MONOTONIC);
    uint64_t armed = 0;
    for (;;) {
        uint64_t next = keep_time(stopped);
        flush_all();
        if (phase == OVER) return;
        if (next != armed && next != UINT64_MAX) {
            struct itimerspec when = {.it_value = {(time_t)(next / SECOND), (long)(next % SECOND)}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
            armed = next;
        }
        int count = epoll_wait(epoll, events, EVENTS, -1);
        now = clock_ns(CLOCK_MONOTONIC);
        for (int n = 0; n < count; n++) {
            struct connection *c = events[n].data.ptr;
            if ((void *)c == (void *)&timer) {
                armed = 0;
                (void)!read(timer, &(uint64_t){0}, sizeof(uint64_t));
            } else if ((void *)c == (void *)stdin) {
                stopped = true;
                epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
            } else if (c->state == CONNECTING) {
                connected(c);
            } else if (c->state != CLOSED) {
                if (events[n].events & EPOLLOUT) mark_dirty(c);
                if (events[n].events & ~(uint32_t)EPOLLOUT) readable(c);
            }
        }
    }
}

int main(int count, char **words) {
    parse_options(count, words);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    create_connections();
    run();
    print_report(under_way, options.slices);
    return 0;
}
