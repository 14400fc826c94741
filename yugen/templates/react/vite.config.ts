import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // Yugen serves what is in `public`, so that is where a build goes.
  publicDir: false,
  build: { outDir: "public", emptyOutDir: true },
});
