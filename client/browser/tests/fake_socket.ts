import { vi } from "vitest";

/** A WebSocket whose network is the test. */
export class FakeWebSocket {
  static all: FakeWebSocket[] = [];
  static get latest(): FakeWebSocket {
    return this.all.at(-1)!;
  }

  readyState = 0;
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  readonly #sent: { type: string; [field: string]: unknown }[] = [];

  constructor(readonly url: string) {
    FakeWebSocket.all.push(this);
  }

  send(text: string): void {
    if (this.readyState !== 1) throw new Error("InvalidStateError");
    this.#sent.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = 2;
  }

  /** The messages sent since the last call. */
  takeSent() {
    return this.#sent.splice(0);
  }

  accept(): void {
    this.readyState = 1;
    this.onopen?.({});
  }

  say(data: unknown): void {
    this.onmessage?.({ data });
  }

  fail(code = 1006, reason = ""): void {
    this.readyState = 3;
    this.onerror?.({});
    this.onclose?.({ code, reason });
  }
}

/** Lets everything that waits for a microtask run. */
export const turn = () => vi.advanceTimersByTimeAsync(0);
