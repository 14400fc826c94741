#include "report.h"

struct found found, report;

void count_kind(struct kinds *kinds, const char *name, uint64_t more) {
    int n = 0;
    while (n < KINDS_MAX - 1 && kinds->names[n] && strcmp(kinds->names[n], name)) n++;
    if (!kinds->names[n]) kinds->names[n] = strdup(n < KINDS_MAX - 1 ? name : "others");
    kinds->counts[n] += more;
}

void add_latency(uint64_t ns) {
    if (found.done == found.room) {
        found.room = found.room ? found.room * 2 : 1 << 16;
        found.latencies = grown(found.latencies, found.room * sizeof *found.latencies);
    }
    found.latencies[found.done++] = ns / 100 < UINT32_MAX ? (uint32_t)(ns / 100) : UINT32_MAX;
}

void forget(void) {
    found.sent = found.failed = found.transitions = found.updates = found.update_bytes = found.bytes = found.done = 0;
}

void add_update(size_t bytes) {
    found.updates++;
    found.update_bytes += bytes;
}

void open_slice(void) {
    found.slices = grown(found.slices, (found.slices_count + 1) * sizeof *found.slices);
    found.slices[found.slices_count++] = (struct slice){found.sent, found.failed, found.updates, found.done};
}



static int by_value(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double percentile(const uint32_t *sorted, size_t count, double part) {
    return count ? sorted[(size_t)((double)(count - 1) * part + 0.5)] / 10.0 : 0;
}

static void print_kinds(const char *name, const struct kinds *kinds) {
    printf("\"%s\":{", name);
    for (int n = 0; n < KINDS_MAX && kinds->names[n]; n++) {
        printf("%s\"", n ? "," : "");
        for (const char *letter = kinds->names[n]; *letter; letter++)
            putchar(*letter == '"' || *letter == '\\' || (unsigned char)*letter < ' ' ? '?' : *letter);
        printf("\":%llu", (unsigned long long)kinds->counts[n]);
    }
    printf("},");
}

static void print_slices(void) {
    printf("\"slices\":[");
    for (size_t n = 0; n + 1 < found.slices_count; n++) {
        struct slice *slice = &found.slices[n], *next = slice + 1;
        size_t done = next->first - slice->first;
        uint32_t *latencies = found.latencies + slice->first;
        qsort(latencies, done, sizeof *latencies, by_value);
        printf("%s{\"sent\":%llu,\"done\":%zu,", n ? "," : "", (unsigned long long)(next->sent - slice->sent), done);
        printf("\"failed\":%llu,\"updates\":%llu,", (unsigned long long)(next->failed - slice->failed),
               (unsigned long long)(next->updates - slice->updates));
        printf("\"p50\":%.1f,\"p99\":%.1f}", percentile(latencies, done, 0.5), percentile(latencies, done, 0.99));
    }
    printf("],");
}

void print_report(uint64_t unanswered, bool slices) {
    double sum = 0;
    printf("{\"seconds\":%.4f,\"opening_seconds\":%.4f,\"cpu_seconds\":%.4f,", report.seconds, report.opening_seconds,
           report.cpu_seconds);
    printf("\"sent\":%llu,\"done\":%zu,\"failed\":%llu,\"unanswered\":%llu,", (unsigned long long)report.sent,
           report.done, (unsigned long long)report.failed, (unsigned long long)unanswered);
    printf("\"transitions\":%llu,\"updates\":%llu,", (unsigned long long)report.transitions,
           (unsigned long long)report.updates);
    printf("\"update_bytes\":%llu,\"bytes\":%llu,", (unsigned long long)report.update_bytes,
           (unsigned long long)report.bytes);
    print_kinds("failures", &report.failures);
    print_kinds("closes", &report.closes);
    if (slices) print_slices();
    qsort(found.latencies, report.done, sizeof *found.latencies, by_value);
    for (size_t n = 0; n < report.done; n++) sum += found.latencies[n] / 10.0;
    printf("\"latency\":{\"mean\":%.1f", report.done ? sum / (double)report.done : 0);
    static const struct {
        const char *name;
        double part;
    } PARTS[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}};
    for (size_t n = 0; n < sizeof PARTS / sizeof *PARTS; n++)
        printf(",\"%s\":%.1f", PARTS[n].name, percentile(found.latencies, report.done, PARTS[n].part));
    printf("}}\n");
}
