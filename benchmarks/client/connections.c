#include "connections.h"

#include "calls.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

enum phase phase;
uint64_t now;
struct connection *connections;
uint32_t connections_count, opening, ready;
int epoll;

static struct connection **dirty;
static uint32_t dirty_count;

void create_connections(void) {
    connections_count = options.clients + options.listeners;
    connections = calloc(connections_count ? connections_count : 1, sizeof *connections);
    dirty = calloc(connections_count ? connections_count : 1, sizeof(struct connection *));
    if (!connections || !dirty) die("out of memory");
    for (uint32_t n = 0; n < connections_count; n++) {
        struct connection *c = &connections[n];
        c->caller = n < options.clients;
        c->listener = !c->caller || options.callers_listen;
        c->number = c->caller ? n : n - options.clients;
        if (c->caller) create_calls(c);
    }
}

void mark_dirty(struct connection *c) {
    if (c->dirty) return;
    c->dirty = true;
    dirty[dirty_count++] = c;
}

void append_frame(struct connection *c, size_t from) {
    /* The text stands in `out` from there on; puts the head of its frame before it. The mask of zeros leaves the text
     * as it is, which RFC 6455 allows. */
    size_t size = c->out.size - from, head;
    unsigned char bytes[14] = {0x81};
    if (size < 126) {
        bytes[1] = (unsigned char)(0x80 | size);
        head = 6;
    } else if (size < 65536) {
        bytes[1] = 0x80 | 126;
        bytes[2] = (unsigned char)(size >> 8);
        bytes[3] = (unsigned char)size;
        head = 8;
    } else {
        bytes[1] = 0x80 | 127;
        for (int n = 0; n < 8; n++) bytes[2 + n] = (unsigned char)(size >> (56 - 8 * n));
        head = 14;
    }
    make_room(&c->out, head);
    memmove(c->out.at + from + head, c->out.at + from, size);
    memcpy(c->out.at + from, bytes, head);
    c->out.size += head;
    mark_dirty(c);
}

static void watch(struct connection *c, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, how, c->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    if (inet_pton(AF_INET, options.host, &address.sin_addr) != 1) die("no IPv4 address: %s", options.host);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("cannot connect to %s:%d: %s", options.host, options.port, strerror(errno));
    c->state = CONNECTING;
    c->seen = 0;
    opening++;
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

void set_ready(struct connection *c) {
    c->state = READY;
    opening--;
    ready++;
    fill(c);
}

void close_connection(struct connection *c, const char *why) {
    if (phase == OPENING) die("a connection was closed: %s", why);
    uint64_t lost = drop_calls(c);
    if (phase == MEASURING) {
        count_kind(&found.closes, why, 1);
        if (lost) count_kind(&found.failures, why, lost);
        found.failed += lost;
    }
    if (c->state == READY) ready--;
    else opening--;
    close(c->fd);
    c->state = CLOSED;
    c->writing = false;
    c->reopen_at = now + options.backoff;
    free_bytes(&c->in);
    free_bytes(&c->out);
}

void prepare_sync(struct connection *c) {
    size_t from = c->out.size;
    char text[256];
    uint16_t id[8]; /* never from a seed: who comes with a session of before is answered what was answered before */
    if (getrandom(id, sizeof id, 0) != sizeof id) die("getrandom: %s", strerror(errno));
    snprintf(text, sizeof text,
             "{\"type\":\"Connect\",\"sessionId\":\"%04x%04x-%04x-4%03x-8%03x-%04x%04x%04x\",\"connectionCount\":0,"
             "\"lastCloseReason\":\"InitialConnect\"}",
             id[0], id[1], id[2], id[3] & 0xfff, id[4] & 0xfff, id[5], id[6], id[7]);
    append_text(&c->out, text);
    append_frame(c, from);
    from = c->out.size;
    append_text(&c->out, "{\"type\":\"ModifyQuerySet\",\"baseVersion\":0,\"newVersion\":1,\"modifications\":[");
    for (uint32_t query = 0; c->listener && options.query && query < options.queries; query++) {
        append_text(&c->out, query ? ",{\"type\":\"Add\",\"queryId\":" : "{\"type\":\"Add\",\"queryId\":");
        append_number(&c->out, query);
        append_text(&c->out, ",\"udfPath\":\"");
        append_text(&c->out, options.query);
        append_text(&c->out, "\",\"args\":[");
        struct numbers numbers = {c->number, query, (uint64_t)c->number * options.queries + query, 0};
        append_template(&c->out, &options.query_args, numbers);
        append_text(&c->out, "]}");
    }
    append_text(&c->out, "]}");
    append_frame(c, from);
    c->state = PREPARING;
}

void connected(struct connection *c) {
    int error = 0;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error) return close_connection(c, strerror(error));
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    if (options.protocol == HTTP) return set_ready(c);
    append_text(&c->out, "GET ");
    append_text(&c->out, c->caller || !options.listen_path ? options.path : options.listen_path);
    append_text(&c->out, " HTTP/1.1\r\nHost: benchmark\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    c->state = UPGRADING;
    mark_dirty(c);
}

static void flush(struct connection *c) {
    size_t sent = 0;
    while (sent < c->out.size) {
        ssize_t size = send(c->fd, c->out.at + sent, c->out.size - sent, MSG_NOSIGNAL);
        if (size < 0 && errno == EAGAIN) break;
        if (size < 0) return close_connection(c, strerror(errno));
        sent += (size_t)size;
    }
    memmove(c->out.at, c->out.at + sent, c->out.size - sent);
    c->out.size -= sent;
    bool writing = c->out.size > 0;
    if (writing != c->writing) watch(c, EPOLL_CTL_MOD, writing ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->writing = writing;
}

void flush_all(void) {
    for (uint32_t n = 0; n < dirty_count; n++) {
        dirty[n]->dirty = false;
        if (dirty[n]->state > CONNECTING) flush(dirty[n]);
    }
    dirty_count = 0;
}
