#include "calls.h"

uint64_t under_way;

static uint64_t calls_made;
static uint32_t ring_mask;

/* --until last: the timestamp of the one call, and how many listeners have not seen it yet. */
static uint64_t last_ts;
static uint32_t last_behind;

static struct call *call_of(const struct connection *c, uint32_t id) { return &c->calls[id & ring_mask]; }

void create_calls(struct connection *c) {
    while (ring_mask < options.inflight) ring_mask = ring_mask << 1 | 1;
    c->calls = grown(NULL, (ring_mask + 1) * sizeof *c->calls);
}

uint64_t drop_calls(struct connection *c) {
    uint64_t lost = 0;
    for (; c->oldest != c->next; c->oldest++) lost += call_of(c, c->oldest)->state != FINISHED;
    under_way -= lost;
    return lost;
}

void send_call(struct connection *c, uint64_t start) {
    uint32_t id = c->next++;
    *call_of(c, id) = (struct call){start, 0, WAITING};
    size_t from = c->out.size;
    struct numbers numbers = {c->number, 0, 0, calls_made++};
    under_way++;
    found.sent++;
    if (options.protocol == SYNC) {
        append_text(&c->out, "{\"type\":\"Mutation\",\"requestId\":");
        append_number(&c->out, id);
        append_text(&c->out, ",\"udfPath\":\"");
        append_text(&c->out, options.mutation);
        append_text(&c->out, "\",\"args\":[");
        append_template(&c->out, &options.args, numbers);
        append_text(&c->out, "]}");
        append_frame(c, from);
    } else if (options.protocol == RAW) {
        append_template(&c->out, &options.args, numbers);
        append_frame(c, from);
    } else {
        struct bytes body = {0};
        append_template(&body, &options.args, numbers);
        append_text(&c->out, options.http);
        append_text(&c->out, " HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\nContent-Length: ");
        append_number(&c->out, body.size);
        append_text(&c->out, "\r\n\r\n");
        append(&c->out, body.at, body.size);
        free_bytes(&body);
        mark_dirty(c);
    }
}

bool is_enough(void) { return options.calls && calls_made == options.calls; }

void fill(struct connection *c) {
    if (!c->caller || options.steps_count || (phase != WARMING && phase != MEASURING)) return;
    while (c->next - c->oldest < options.inflight && !is_enough()) send_call(c, now);
}

static void finish(struct connection *c, struct call *call, const char *failure) {
    call->state = FINISHED;
    under_way--;
    if (phase == MEASURING && failure) {
        found.failed++;
        count_kind(&found.failures, failure, 1);
    } else if (phase == MEASURING || phase == WARMING) {
        add_latency(now - call->start);
    }
    while (c->oldest != c->next && call_of(c, c->oldest)->state == FINISHED) c->oldest++;
    fill(c);
}

/* Finishes what is answered and has been seen. */
static void finish_seen(struct connection *c) {
    while (c->oldest != c->next) {
        struct call *call = call_of(c, c->oldest);
        if (call->state != ANSWERED || call->ts > c->seen) return;
        finish(c, call, NULL);
    }
}

static void finish_last(void) {
    struct connection *caller = &connections[0];
    if (last_ts && !last_behind && caller->oldest != caller->next) {
        last_ts = 0;
        finish(caller, call_of(caller, caller->oldest), NULL);
    }
}

void answer(struct connection *c, uint32_t id, uint64_t ts, const char *failure) {
    struct call *call = call_of(c, id);
    if (id - c->oldest >= c->next - c->oldest || call->state != WAITING) die("an answer to what was not asked: %u", id);
    if (failure || options.until == RESPONSE) return finish(c, call, failure);
    call->ts = ts;
    call->state = ANSWERED;
    if (options.until == TRANSITION) return finish_seen(c);
    last_ts = ts;
    last_behind = 0;
    for (uint32_t n = options.clients; n < connections_count; n++) last_behind += connections[n].seen < ts;
    finish_last();
}

void see(struct connection *c, uint64_t ts) {
    bool was_behind = last_ts && c->listener && !c->caller && c->seen < last_ts;
    c->seen = ts;
    if (c->state == PREPARING) return set_ready(c);
    if (c->caller && options.until == TRANSITION) finish_seen(c);
    if (was_behind && ts >= last_ts) {
        last_behind--;
        finish_last();
    }
}
