#include "options.h"

#include <getopt.h>

static const char USAGE[] =
    "usage: load --port PORT [options]\n"
    "  --host ADDRESS     an IPv4 address (127.0.0.1)\n"
    "  --path PATH        of the WebSocket endpoint (/api/sync)\n"
    "  --listen-path PATH of that for listeners (the same)\n"
    "  --clients N        connections that call (0)\n"
    "  --inflight K       calls each has under way: exactly so many in a closed loop, at most in an open one (1)\n"
    "  --mutation NAME    what they call (notes:add)\n"
    "  --args TEXT        its arguments, a template ({})\n"
    "  --raw              no sync protocol: they send the arguments as a text, and a text that comes is an answer\n"
    "  --http REQUEST     not WebSocket, but requests like 'POST /api/query' whose body is the arguments\n"
    "  --until WHAT       a call is done at its `response` (the default), when its own connection has got a\n"
    "                     `transition` up to it, or when the `last` of the listeners has (one client, one in flight)\n"
    "  --rate R[@S],...   an open loop: R calls a second for S seconds, then the next; random intervals\n"
    "  --calls N          stop after so many calls (no limit)\n"
    "  --listeners N      connections that only subscribe (0)\n"
    "  --query NAME       what they subscribe to; without it, to nothing\n"
    "  --query-args TEXT  its arguments, a template ({})\n"
    "  --queries Q        how many of it on one connection (1)\n"
    "  --callers-listen   connections that call subscribe as well\n"
    "  --lines FILE       texts for %uniform-line and %zipf-line\n"
    "  --warmup S         seconds before what counts (0)\n"
    "  --seconds S        seconds that count; 0: until standard input ends (5)\n"
    "  --grace S          seconds to wait for what is under way then (5)\n"
    "  --backoff S        seconds until a connection that was closed is opened again (1)\n"
    "  --announce         print a line when all connections are open and have their first results\n"
    "  --slices           report each tenth of a second as well\n"
    "  --seed N           of all that is random (another each time)\n"
    "In templates: %client (number of the connection among its kind), %query (of the query on its connection),\n"
    "%subscription (of the query among all), %call (of the call among all), each also modulo: %client(10);\n"
    "%uniform(N) and %zipf(N,S), integers from 0 of which no two in a row are alike within one message; %uniform-line\n"
    "and %zipf-line(S), lines of the file; %x(N), so many letters x; %% for %.\n";

struct options options = {
    .host = "127.0.0.1",
    .path = "/api/sync",
    .mutation = "notes:add",
    .queries = 1,
    .inflight = 1,
    .seconds = 5 * SECOND,
    .grace = 5 * SECOND,
    .backoff = SECOND,
};

static uint64_t nanoseconds(const char *text) { return (uint64_t)(atof(text) * (double)SECOND); }

static void parse_steps(char *text) {
    options.seconds = 0;
    for (char *part = strtok(text, ","); part; part = strtok(NULL, ",")) {
        if (options.steps_count == STEPS_MAX) die("more than %d steps", STEPS_MAX);
        char *at = strchr(part, '@');
        struct step step = {atof(part), at ? nanoseconds(at + 1) : 5 * SECOND};
        options.steps[options.steps_count++] = step;
        options.seconds += step.duration;
    }
}

void parse_options(int count, char **words) {
    enum { HOST = 1, PORT, PATH, LISTEN_PATH, CLIENTS, INFLIGHT, MUTATION, ARGS, RAW_, HTTP_, UNTIL, RATE, CALLS,
           LISTENERS, QUERY_, QUERY_ARGS, QUERIES, CALLERS_LISTEN, LINES, WARMUP, SECONDS, GRACE, BACKOFF, ANNOUNCE,
           SLICES, SEED, HELP };
    static const struct option known[] = {
        {"host", 1, 0, HOST}, {"port", 1, 0, PORT}, {"path", 1, 0, PATH},
        {"listen-path", 1, 0, LISTEN_PATH}, {"clients", 1, 0, CLIENTS},
        {"inflight", 1, 0, INFLIGHT}, {"mutation", 1, 0, MUTATION}, {"args", 1, 0, ARGS}, {"raw", 0, 0, RAW_},
        {"http", 1, 0, HTTP_}, {"until", 1, 0, UNTIL}, {"rate", 1, 0, RATE}, {"calls", 1, 0, CALLS},
        {"listeners", 1, 0, LISTENERS}, {"query", 1, 0, QUERY_}, {"query-args", 1, 0, QUERY_ARGS},
        {"queries", 1, 0, QUERIES}, {"callers-listen", 0, 0, CALLERS_LISTEN}, {"lines", 1, 0, LINES},
        {"warmup", 1, 0, WARMUP}, {"seconds", 1, 0, SECONDS}, {"grace", 1, 0, GRACE}, {"backoff", 1, 0, BACKOFF},
        {"announce", 0, 0, ANNOUNCE}, {"slices", 0, 0, SLICES}, {"seed", 1, 0, SEED}, {"help", 0, 0, HELP}, {0}};
    const char *args = "{}", *query_args = "{}";
    seed_dice(NULL);
    for (int found; (found = getopt_long(count, words, "", known, NULL)) != -1;) switch (found) {
        case HOST: options.host = optarg; break;
        case PORT: options.port = atoi(optarg); break;
        case PATH: options.path = optarg; break;
        case LISTEN_PATH: options.listen_path = optarg; break;
        case CLIENTS: options.clients = (uint32_t)atoi(optarg); break;
        case INFLIGHT: options.inflight = (uint32_t)atoi(optarg); break;
        case MUTATION: options.mutation = optarg; break;
        case ARGS: args = optarg; break;
        case RAW_: options.protocol = RAW; break;
        case HTTP_: options.protocol = HTTP; options.http = optarg; break;
        case UNTIL: options.until = *optarg == 'l' ? LAST : *optarg == 't' ? TRANSITION : RESPONSE; break;
        case RATE: parse_steps(optarg); break;
        case CALLS: options.calls = strtoull(optarg, NULL, 10); break;
        case LISTENERS: options.listeners = (uint32_t)atoi(optarg); break;
        case QUERY_: options.query = optarg; break;
        case QUERY_ARGS: query_args = optarg; break;
        case QUERIES: options.queries = (uint32_t)atoi(optarg); break;
        case CALLERS_LISTEN: options.callers_listen = true; break;
        case LINES: read_lines(optarg); break;
        case WARMUP: options.warmup = nanoseconds(optarg); break;
        case SECONDS: options.seconds = nanoseconds(optarg); break;
        case GRACE: options.grace = nanoseconds(optarg); break;
        case BACKOFF: options.backoff = nanoseconds(optarg); break;
        case ANNOUNCE: options.announce = true; break;
        case SLICES: options.slices = true; break;
        case SEED: seed_dice(optarg); break;
        case HELP: fputs(USAGE, stdout); exit(0);
        default: fputs(USAGE, stderr); exit(2);
        }
    if (!options.port || optind < count) fputs(USAGE, stderr), exit(2);
    if (options.until == LAST && (options.clients != 1 || options.inflight != 1 || !options.listeners))
        die("--until last needs one client with one call in flight, and listeners");
    if (!options.inflight || options.inflight > INFLIGHT_MAX) die("--inflight is from 1 to %d", INFLIGHT_MAX);
    if (options.protocol == HTTP && options.inflight > 1) die("one request in flight on a connection over HTTP");
    options.args = parse_template(args);
    options.query_args = parse_template(query_args);
}
