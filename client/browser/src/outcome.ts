import type { Value } from "./values.js";

/** What a function gave: a value, or the error its caller should see. */
export type Outcome<T = Value> = { ok: true; value: T } | { ok: false; error: Error };
