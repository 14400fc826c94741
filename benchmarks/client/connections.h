/* Connections: opened, written to, closed; and where the run stands. */

#pragma once
#include "options.h"
#include "report.h"

/* A call without an answer yet, or with one whose effects are not visible yet. */
struct call {
    uint64_t start, ts;
    enum { WAITING, ANSWERED, FINISHED } state;
};

enum state { CLOSED, CONNECTING, UPGRADING, PREPARING, READY };

struct connection {
    enum state state;
    int fd;
    bool caller, listener, writing, dirty;
    uint32_t number;
    uint32_t oldest, next; /* calls under way: from the one to the other */
    struct call *calls;    /* a ring, a call at its number modulo the size */
    uint64_t seen;         /* up to which timestamp; --raw: how many texts have come */
    uint64_t reopen_at;
    struct bytes in, out;
};

/* Open every connection and get its first results; warm up; measure; wait for what is under way. */
enum phase { OPENING, WARMING, MEASURING, DRAINING, OVER };

extern enum phase phase;
extern uint64_t now;                   /* when the event that is handled came */
extern struct connection *connections; /* callers first, then listeners */
extern uint32_t connections_count, opening, ready;
extern int epoll;

void create_connections(void);
void open_connection(struct connection *c);
void connected(struct connection *c);
void prepare_sync(struct connection *c); /* sends who it is and what it subscribes to */
void set_ready(struct connection *c);
void close_connection(struct connection *c, const char *why);
void append_frame(struct connection *c, size_t from); /* makes a text frame of what is in `out` from there on */
void mark_dirty(struct connection *c);                /* there is something to send */
void flush_all(void);
