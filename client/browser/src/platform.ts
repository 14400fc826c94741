/** What differs between pages, workers and Node. */
import { VERSION } from "./version.js";

/** What the client needs of a WebSocket class: the browser's, Node's, or the `ws` package's. */
export type WebSocketConstructor = new (url: string) => {
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(): void;
};

/**
 * Calls `listener` when the network comes back, and when the page is looked at again, is no longer frozen, or comes out
 * of the browser's cache. In Node, never.
 */
export function onReturn(listener: () => void): () => void {
  const { document } = globalThis;
  const whenVisible = () => document.visibilityState === "visible" && listener();
  const events: [EventTarget | undefined, string, () => void][] = [
    [globalThis, "online", listener],
    [document, "visibilitychange", whenVisible],
    [document, "resume", listener],
    [document === undefined ? undefined : globalThis, "pageshow", listener],
  ];
  for (const [target, type, handle] of events) target?.addEventListener?.(type, handle);
  return () => {
    for (const [target, type, handle] of events) target?.removeEventListener?.(type, handle);
  };
}

export function defaultUrl(): string {
  const origin = globalThis.location?.origin;
  if (origin === undefined) {
    throw new TypeError(`Outside of a page, give the server's address: new YugenClient("http://localhost:3210")`);
  }
  return origin;
}

export function defaultWebSocket(): WebSocketConstructor {
  if (globalThis.WebSocket === undefined) {
    throw new TypeError("There is no global WebSocket here; pass a class: new YugenClient(url, { WebSocket })");
  }
  return globalThis.WebSocket;
}

export function syncUrl(url: string): string {
  if (!/^https?:\/\//.test(url)) {
    throw new TypeError(`The server's address must start with http:// or https://, not ${JSON.stringify(url)}`);
  }
  return `${url.replace(/^http/, "ws").replace(/\/+$/, "")}/api/yugen-browser-${VERSION}/sync`;
}

/** A random UUID. `crypto.randomUUID` exists only on https and localhost; pages on a local network need one, too. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Runs a callback of the page. What it throws is reported as uncaught and does not stop the others. */
export function guard(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    reportUncaught(error);
  }
}

export function reportUncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
