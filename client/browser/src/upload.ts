import { UploadError } from "./errors.js";

/**
 * Sends a file to an upload address, such as a mutation on Convex's own servers gives. Yugen does not store files yet.
 *
 * @returns The id of the file: a document of `_storage`.
 * @throws UploadError if the server refuses the file; what `fetch` throws if it cannot be reached.
 */
export async function upload(url: string, file: Blob, options: { signal?: AbortSignal } = {}): Promise<string> {
  const headers: Record<string, string> = file.type === "" ? {} : { "Content-Type": file.type };
  const response = await fetch(url, { ...options, method: "POST", headers, body: file });
  const answer = await response.json().catch(() => ({}));
  if (response.ok && typeof answer?.storageId === "string") return answer.storageId;
  throw new UploadError(response.status, answer?.code, answer?.message);
}
