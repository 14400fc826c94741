import { ConvexProvider, ConvexReactClient } from "convex/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";
import "./style.css";

// Vite's own server has only the page; a build is served by Yugen itself.
const address = import.meta.env.VITE_YUGEN_URL ?? (import.meta.env.DEV ? "http://127.0.0.1:3210" : location.origin);
const convex = new ConvexReactClient(address);

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <ConvexProvider client={convex}>
      <App />
    </ConvexProvider>
  </StrictMode>,
);
