#include "protocol.h"

#include "calls.h"

#include <sys/socket.h>

#define READ_BYTES (1 << 18)

static const char *after(const char *text, size_t size, const char *wanted) {
    const char *place = memmem(text, size, wanted, strlen(wanted));
    return place ? place + strlen(wanted) : NULL;
}

static const char *after_last(const char *text, size_t size, const char *wanted) {
    size_t length = strlen(wanted);
    for (const char *place = text + size - length; place >= text; place--)
        if (!memcmp(place, wanted, length)) return place + length;
    return NULL;
}

/* The eight bytes that base64 stands for, the lowest first. */
static uint64_t timestamp(const char *text) {
    static int8_t values[256];
    if (!values['B']) {
        const char *alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for (int n = 0; n < 64; n++) values[(unsigned char)alphabet[n]] = (int8_t)n;
    }
    unsigned __int128 bits = 0;
    for (int n = 0; n < 11; n++) bits = bits << 6 | (unsigned)values[(unsigned char)text[n]];
    return __builtin_bswap64((uint64_t)(bits >> 2));
}

/* What is said to be wrong, without what is different each time. */
static const char *failure_in(const char *text, size_t size) {
    static char kind[128];
    const char *start = after(text, size, "\"result\":\""), *end = text + size;
    if (!start) return "failed";
    if (!strncmp(start, "[Request ID: ", 13)) {
        const char *id = memchr(start, ']', (size_t)(end - start));
        if (id && id + 2 < end) start = id + 2;
    }
    size_t length = 0;
    while (start + length < end && start[length] != '"' && start[length] != '\\' && length < sizeof kind - 1) length++;
    memcpy(kind, start, length);
    kind[length] = 0;
    return kind;
}

static void receive_sync(struct connection *c, const char *text, size_t size) {
    const char *kind = after(text, size, "\"type\":\"");
    if (!kind) die("no message of the protocol: %.*s", (int)(size < 200 ? size : 200), text);
    if (!strncmp(kind, "Transition\"", 11)) {
        const char *version = after(text, size, "\"endVersion\":{");
        const char *ts = version ? after(version, size - (size_t)(version - text), "\"ts\":\"") : NULL;
        if (!ts) die("a Transition without a timestamp");
        found.transitions++;
        size_t rest = size - (size_t)(ts - text);
        if (!after(ts, rest < 60 ? rest : 60, "\"modifications\":[]")) add_update(size);
        see(c, timestamp(ts));
    } else if (!strncmp(kind, "MutationResponse\"", 17)) {
        const char *id = after(text, size, "\"requestId\":");
        bool success = after(text, size < 120 ? size : 120, "\"success\":true") != NULL;
        const char *ts = success ? after_last(text, size, "\"ts\":\"") : NULL;
        if (!id || (success && !ts)) die("an incomplete MutationResponse");
        answer(c, (uint32_t)strtoul(id, NULL, 10), ts ? timestamp(ts) : 0, success ? NULL : failure_in(text, size));
    } else if (strncmp(kind, "Ping\"", 5)) {
        die("an unexpected message: %.*s", (int)(size < 200 ? size : 200), text);
    }
}

static void receive_raw(struct connection *c, size_t size) {
    if (c->caller && c->oldest != c->next) answer(c, c->oldest, c->next, NULL);
    if (!c->caller) add_update(size);
    see(c, c->seen + 1);
}

static void receive_frame(struct connection *c, int opcode, const char *payload, size_t size) {
    char why[160] = "closed";
    if (opcode == 1) {
        if (options.protocol == SYNC) receive_sync(c, payload, size);
        else receive_raw(c, size);
    } else if (opcode == 9) {
        unsigned char head[6] = {0x8a, (unsigned char)(0x80 | size)};
        append(&c->out, head, sizeof head);
        append(&c->out, payload, size);
        mark_dirty(c);
    } else if (opcode == 8) {
        if (size >= 2)
            snprintf(why, sizeof why, "closed %d %.*s", (unsigned char)payload[0] << 8 | (unsigned char)payload[1],
                     (int)size - 2, payload + 2);
        close_connection(c, why);
    } else {
        die("an unexpected frame, opcode %d", opcode);
    }
}

/* Takes what is complete from what came; gives how many bytes it took. */
static size_t receive_frames(struct connection *c, const char *data, size_t size) {
    size_t place = 0;
    while (size - place >= 2 && c->state > UPGRADING) {
        const unsigned char *frame = (const unsigned char *)data + place;
        size_t payload = frame[1] & 0x7f, head = 2;
        if (payload == 126) {
            if (size - place < 4) break;
            payload = (size_t)frame[2] << 8 | frame[3];
            head = 4;
        } else if (payload == 127) {
            if (size - place < 10) break;
            payload = 0;
            for (int n = 2; n < 10; n++) payload = payload << 8 | frame[n];
            head = 10;
        }
        if (size - place < head + payload) break;
        if (!(frame[0] & 0x80)) die("a message in fragments");
        place += head + payload;
        receive_frame(c, frame[0] & 0x0f, (const char *)frame + head, payload);
    }
    return place;
}

static size_t receive_upgrade(struct connection *c, const char *data, size_t size) {
    const char *end = after(data, size, "\r\n\r\n");
    if (!end) return 0;
    if (size < 12 || memcmp(data + 9, "101", 3)) die("no upgrade: %.*s", (int)(size < 200 ? size : 200), data);
    if (options.protocol == RAW) set_ready(c);
    else prepare_sync(c);
    return (size_t)(end - data);
}

static size_t receive_http(struct connection *c, const char *data, size_t size) {
    const char *end = after(data, size, "\r\n\r\n");
    if (!end) return 0;
    size_t length = 0;
    for (const char *line = data; line < end; line = after(line, (size_t)(end - line), "\r\n"))
        if (!strncasecmp(line, "content-length:", 15)) length = strtoull(line + 15, NULL, 10);
    if (size - (size_t)(end - data) < length) return 0;
    char status[16];
    snprintf(status, sizeof status, "HTTP %.3s", data + 9);
    add_update(length);
    answer(c, c->oldest, 0, data[9] == '2' ? NULL : status);
    return (size_t)(end - data) + length;
}

static size_t receive(struct connection *c, const char *data, size_t size) {
    if (options.protocol == HTTP) return receive_http(c, data, size);
    size_t place = c->state == UPGRADING ? receive_upgrade(c, data, size) : 0;
    return c->state > UPGRADING ? place + receive_frames(c, data + place, size - place) : place;
}

void readable(struct connection *c) {
    static char buffer[READ_BYTES];
    ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return close_connection(c, got ? strerror(errno) : "closed without a word");
    now = clock_ns(CLOCK_MONOTONIC);
    found.bytes += (uint64_t)got;
    if (!c->in.size) {
        size_t taken = receive(c, buffer, (size_t)got);
        if (c->state != CLOSED && taken < (size_t)got) append(&c->in, buffer + taken, (size_t)got - taken);
        return;
    }
    append(&c->in, buffer, (size_t)got);
    size_t taken = receive(c, c->in.at, c->in.size);
    if (c->state == CLOSED) return;
    memmove(c->in.at, c->in.at + taken, c->in.size - taken);
    c->in.size -= taken;
    if (!c->in.size) free_bytes(&c->in); /* thousands of connections would keep a large result each */
}
