import { createElement, type ReactNode } from "react";
import { renderToString } from "react-dom/server";
import { ConvexProviderWithAuth, ConvexReactClient } from "convex/react";
import { expect, expectTypeOf, test } from "vitest";
import { AuthClient } from "../src/auth-client.js";
import { useAuth, useAuthActions, useSession, YugenAuthProvider } from "../src/auth-react.js";
import { YugenClient } from "../src/index.js";
import { YugenProviderWithAuth, type ProviderAuth } from "../src/react.js";
import { FakeWebSocket } from "./fake_socket.js";

// How the hooks behave in a page is tested in tests/e2e/test_members.py, with either client.

const auth = new AuthClient("http://127.0.0.1:1");

function rendered(use: () => unknown, around: (child: ReactNode) => ReactNode): string {
  const Component = () => JSON.stringify(use());
  return renderToString(around(createElement(Component))).replaceAll("&quot;", '"');
}

const provided = (child: ReactNode) => createElement(YugenAuthProvider, { client: auth }, child);

test("on a server it is not known who is signed in", () => {
  expect(rendered(() => useAuth(), provided)).toBe('{"isLoading":true,"isAuthenticated":false}');
  expect(rendered(() => useSession(), provided)).toBe(
    '{"isLoading":true,"user":null,"session":null,"secondFactor":null}',
  );
});

test("what can be done is what the client can", () => {
  let actions: AuthClient | undefined;
  rendered(() => ((actions = useAuthActions()), null), provided);
  expect(actions).toBe(auth);
});

test("without a provider they say what is missing", () => {
  expect(() => rendered(() => useAuth(), (child) => child)).toThrow("wrap the app in <YugenAuthProvider");
});

test("the hook is what the providers of both clients ask for", () => {
  expectTypeOf(useAuth).returns.toExtend<ProviderAuth>();
  const official = new ConvexReactClient("http://127.0.0.1:1", { skipConvexDeploymentUrlCheck: true });
  const own = new YugenClient("http://127.0.0.1:1", { WebSocket: FakeWebSocket });
  const within = (provider: any, client: unknown) => (child: ReactNode) =>
    provided(createElement(provider, { client, useAuth }, child));
  expect(rendered(() => "in", within(ConvexProviderWithAuth, official))).toBe('"in"');
  expect(rendered(() => "in", within(YugenProviderWithAuth, own))).toBe('"in"');
  void official.close();
  void own.close();
});
