/* Texts with places that are filled anew for each message; see USAGE in options.c for what may stand in them. */

#pragma once
#include "common.h"

#define PIECES_MAX 64

enum piece_kind { TEXT, CLIENT, QUERY, SUBSCRIPTION, CALL, UNIFORM, ZIPF, UNIFORM_LINE, ZIPF_LINE };

struct piece {
    enum piece_kind kind;
    const char *text;   /* of TEXT */
    size_t count;       /* its size, the modulus, or how many there are to choose from */
    const double *zipf; /* of ZIPF and ZIPF_LINE */
};

struct template {
    struct piece pieces[PIECES_MAX];
    int count;
};

/* What the numbers in a template stand for. */
struct numbers {
    uint64_t client, query, subscription, call;
};

void read_lines(const char *name); /* the file for `%uniform-line` and `%zipf-line` */
struct template parse_template(const char *text);
void append_template(struct bytes *out, const struct template *template, struct numbers numbers);
