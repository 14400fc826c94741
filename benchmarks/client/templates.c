#include "templates.h"

#include <math.h>

/* The chance of each integer and those below it, if k + 1 comes as often as 1 / (k + 1) ** exponent. */
static double *zipf_table(size_t count, double exponent) {
    double *table = grown(NULL, count * sizeof *table), sum = 0;
    for (size_t k = 0; k < count; k++) table[k] = sum += pow((double)(k + 1), -exponent);
    for (size_t k = 0; k < count; k++) table[k] /= sum;
    return table;
}

static size_t zipf(const double *table, size_t count) {
    double wanted = random_unit();
    size_t low = 0, high = count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (table[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return low;
}

static char **lines;
static size_t lines_count;

void read_lines(const char *name) {
    FILE *file = fopen(name, "r");
    if (!file) die("cannot read %s: %s", name, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    while ((size = getline(&line, &room, file)) > 0) {
        if (line[size - 1] == '\n') line[size - 1] = 0;
        lines = grown(lines, (lines_count + 1) * sizeof *lines);
        lines[lines_count++] = strdup(line);
    }
    fclose(file);
    free(line);
}

static const struct {
    const char *name;
    enum piece_kind kind;
} PIECES[] = {
    {"client", CLIENT}, {"query", QUERY},     {"subscription", SUBSCRIPTION}, {"call", CALL},
    {"zipf", ZIPF},     {"uniform", UNIFORM}, {"uniform-line", UNIFORM_LINE}, {"zipf-line", ZIPF_LINE},
};

static struct piece parse_piece(const char **text) {
    double numbers[2] = {0, 0};
    struct piece piece = {TEXT, "%", 1, NULL};
    if (**text == '%') return (*text)++, piece;
    size_t name = strspn(*text, "abcdefghijklmnopqrstuvwxyz-");
    const char *start = *text;
    *text += name;
    if (**text == '(') {
        char *end = (char *)*text;
        for (int n = 0; n < 2 && *end != ')' && *end; n++) numbers[n] = strtod(end + 1, &end);
        if (*end != ')') die("a bracket in a template is not closed: %%%s", start);
        *text = end + 1;
    }
    if (name == 1 && *start == 'x') {
        piece.count = (size_t)numbers[0];
        piece.text = memset(grown(NULL, piece.count + 1), 'x', piece.count);
        return piece;
    }
    for (size_t n = 0; n < sizeof PIECES / sizeof *PIECES; n++) {
        if (strlen(PIECES[n].name) != name || strncmp(PIECES[n].name, start, name)) continue;
        piece = (struct piece){PIECES[n].kind, NULL, (size_t)numbers[0], NULL};
        bool of_lines = piece.kind == UNIFORM_LINE || piece.kind == ZIPF_LINE;
        if (of_lines) piece.count = lines_count;
        if (piece.kind >= UNIFORM && piece.count < 2) die("nothing to choose from: %%%s", start);
        if (piece.kind == ZIPF || piece.kind == ZIPF_LINE)
            piece.zipf = zipf_table(piece.count, numbers[piece.kind == ZIPF]);
        return piece;
    }
    die("no such thing in a template: %%%s", start);
    return piece;
}

struct template parse_template(const char *text) {
    struct template template = {.count = 0};
    while (*text) {
        if (template.count == PIECES_MAX) die("a template has more than %d pieces", PIECES_MAX);
        struct piece *piece = &template.pieces[template.count++];
        size_t plain = strcspn(text, "%");
        if (plain) {
            *piece = (struct piece){TEXT, text, plain, NULL};
            text += plain;
        } else {
            text++;
            *piece = parse_piece(&text);
        }
    }
    return template;
}

void append_template(struct bytes *out, const struct template *template, struct numbers numbers) {
    size_t drawn = SIZE_MAX;
    for (const struct piece *piece = template->pieces; piece < template->pieces + template->count; piece++) {
        if (piece->kind == TEXT) {
            append(out, piece->text, piece->count);
        } else if (piece->kind < UNIFORM) {
            const uint64_t each[] = {[CLIENT] = numbers.client, [QUERY] = numbers.query,
                                     [SUBSCRIPTION] = numbers.subscription, [CALL] = numbers.call};
            append_number(out, piece->count ? each[piece->kind] % piece->count : each[piece->kind]);
        } else {
            size_t before = drawn;
            do drawn = piece->zipf ? zipf(piece->zipf, piece->count) : random_bits() % piece->count;
            while (drawn == before);
            if (piece->kind == UNIFORM || piece->kind == ZIPF) append_number(out, drawn);
            else append_text(out, lines[drawn]);
        }
    }
}
