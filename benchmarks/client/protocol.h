/* What servers say: WebSocket frames with messages of the sync protocol or plain texts, or answers over HTTP. */

#pragma once
#include "connections.h"

void readable(struct connection *c); /* reads, and does what that says */
