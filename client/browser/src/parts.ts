/** Putting together the text of a transition that comes in parts. */
import { ProtocolError } from "./errors.js";
import type { TransitionChunk } from "./messages.js";

/** Characters of such a text: twice what a server keeps of answers for one client. */
const CHARACTERS_MAX = 256 * 1024 * 1024;

/** Parts that it may have: more than there would be if each had 4 KiB. */
const PARTS_MAX = 65_536;

/** The parts of one transition so far. Between them nothing but a Ping may come. */
export class Parts {
  readonly #charactersMax: number;
  #first: TransitionChunk | undefined;
  #texts: string[] = [];
  #characters = 0;

  constructor(charactersMax = CHARACTERS_MAX) {
    this.#charactersMax = charactersMax;
  }

  /** Whether there are some, and others to come. */
  get areAwaited(): boolean {
    return this.#first !== undefined;
  }

  /**
   * Takes the next part.
   *
   * @returns The whole text, once it is there.
   * @throws ProtocolError if it is not the next part, or the whole is too long.
   */
  add(chunk: TransitionChunk): string | undefined {
    const { chunk: text, partNumber, totalParts, transitionId } = chunk;
    const first = (this.#first ??= chunk);
    const due = this.#texts.length;
    const follows =
      partNumber === due &&
      partNumber < totalParts &&
      totalParts === first.totalParts &&
      transitionId === first.transitionId;
    if (!follows) {
      throw new ProtocolError(
        `The server sent part ${partNumber} of ${totalParts} of transition ${transitionId.slice(0, 40)} ` +
          `where part ${due} of ${first.totalParts} of transition ${first.transitionId.slice(0, 40)} was due`,
      );
    }
    this.#characters += text.length;
    if (totalParts > PARTS_MAX || this.#characters > this.#charactersMax) {
      throw new ProtocolError(`The server sent a transition of ${totalParts} parts and ${this.#characters} characters`);
    }
    this.#texts.push(text);
    if (this.#texts.length < totalParts) return undefined;

    const whole = this.#texts.join("");
    this.#first = undefined;
    this.#texts = [];
    this.#characters = 0;
    return whole;
  }
}
