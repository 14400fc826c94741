/* Calls: made, answered, seen, done. */

#pragma once
#include "connections.h"

extern uint64_t under_way; /* calls that are not done */

void create_calls(struct connection *c);
uint64_t drop_calls(struct connection *c); /* those of a connection that is gone; gives how many */
bool is_enough(void);                      /* whether all calls that should be have been made */
void fill(struct connection *c);           /* the closed loop: as many calls under way as there should be */
void send_call(struct connection *c, uint64_t start);
void answer(struct connection *c, uint32_t id, uint64_t ts, const char *failure);
void see(struct connection *c, uint64_t ts); /* the connection has seen all up to there */
