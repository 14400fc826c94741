import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { UploadError, YugenClient } from "../src/index.js";
import { FakeWebSocket } from "./fake_socket.js";

let server: Server;
let url: string;
let client: YugenClient;
let received: { method: string; type: string | undefined; body: string }[];
let answer: { status: number; body: string };

async function read(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const part of request) body += part;
  return body;
}

beforeEach(async () => {
  received = [];
  answer = { status: 200, body: '{"storageId": "kg2d"}' };
  server = createServer(async (request, response) => {
    received.push({ method: request.method!, type: request.headers["content-type"], body: await read(request) });
    response.writeHead(answer.status, { "Content-Type": "application/json" }).end(answer.body);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/storage/upload?token=t`;
  client = new YugenClient("http://localhost:3210", { WebSocket: FakeWebSocket });
});

afterEach(async () => {
  void client.close();
  await new Promise((closed) => server.close(closed));
});

test("a file goes to the address with its type, and its id comes back", async () => {
  expect(await client.upload(url, new Blob(["hello"], { type: "text/plain" }))).toBe("kg2d");
  expect(await client.upload(url, new Blob(["hello"]))).toBe("kg2d");
  expect(received).toStrictEqual([
    { method: "POST", type: "text/plain", body: "hello" },
    { method: "POST", type: undefined, body: "hello" },
  ]);
});

test.each([
  [{ status: 401, body: '{"code": "StorageTokenExpired", "message": "too late"}' }, "too late", "StorageTokenExpired"],
  [{ status: 502, body: "<h1>Bad gateway</h1>" }, "The upload failed with HTTP status 502", undefined],
  [{ status: 200, body: "{}" }, "The upload failed with HTTP status 200", undefined],
])("a refusal says why: %o", async (refusal, message, code) => {
  answer = refusal;
  const error = await client.upload(url, new Blob(["hello"])).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(UploadError);
  expect(error).toMatchObject({ name: "UploadError", message, code, status: refusal.status });
});

test("an upload can be given up", async () => {
  const controller = new AbortController();
  const upload = client.upload(url, new Blob(["hello"]), { signal: controller.signal });
  controller.abort();
  await expect(upload).rejects.toThrow("aborted");
});
