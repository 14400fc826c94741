/**
 * Names of functions and references to them.
 *
 * A reference is an object with the function's name under `Symbol.for("functionName")`, as Convex's generated code
 * has them, so that one `api.js` serves this client and the official ones. Its types exist only for the compiler.
 */
import type { Args, Value } from "./values.js";

const functionName = Symbol.for("functionName");

export type FunctionType = "query" | "mutation" | "action";

/** What is known of a function: its kind, who may call it, what it takes and what it gives. */
export type FunctionReference<
  Type extends FunctionType,
  Visibility extends "public" | "internal" = "public",
  FunctionArguments extends { [name: string]: any } = any,
  Result = any,
  ComponentPath = string | undefined,
> = {
  _type: Type;
  _visibility: Visibility;
  _args: FunctionArguments;
  _returnType: Result;
  _componentPath: ComponentPath;
};

/** A function by its reference or by its name, `"messages:send"`; a name tells the compiler nothing more. */
export type FunctionOrName<Type extends FunctionType> = FunctionReference<Type> | string;

/** What a function takes. */
export type FunctionArgs<F> = F extends { _args: infer A } ? A : Args;

/** What a function gives, as this client decodes it. */
export type FunctionReturnType<F> = F extends { _returnType: infer R } ? Received<R> : Value;

/** The arguments of a function as the rest of a parameter list: they may be left out if none is required. */
export type RestArgs<F> = {} extends FunctionArgs<F> ? [args?: FunctionArgs<F>] : [args: FunctionArgs<F>];

/** A type as the wire has it, with bytes the way this client gives them. */
export type Received<T> = 0 extends 1 & T
  ? T
  : T extends ArrayBuffer
    ? Uint8Array
    : T extends string | number | bigint | boolean | null | undefined | Uint8Array
      ? T
      : T extends object
        ? { [K in keyof T]: Received<T[K]> }
        : T;

/**
 * The name of a function: what stands on the wire.
 *
 * @throws TypeError if this is neither a name nor a reference.
 */
export function getFunctionName(reference: FunctionReference<any, any> | string): string {
  const name: unknown = typeof reference === "string" ? reference : (reference as any)?.[functionName];
  if (typeof name !== "string" || name === "") {
    throw new TypeError(
      `Name a function as "messages:send" or by a reference such as api.messages.send, not by ${describe(reference)}`,
    );
  }
  return name.replace(/:default$/, "");
}

/** A reference to a function by its name, for those who have no generated `api`. */
export function makeFunctionReference<
  Type extends FunctionType,
  FunctionArguments extends { [name: string]: any } = any,
  Result = any,
>(name: string): FunctionReference<Type, "public", FunctionArguments, Result> {
  return { [functionName]: name } as any;
}

/** Any path leads to a reference: `anyApi.messages.send` is `"messages:send"`, `anyApi.admin.users.list` is `"admin/users:list"`. */
export const anyApi: AnyApi = apiAt([]) as AnyApi;

/** An `api` whose modules and functions are not known. */
export type AnyApi = { [module: string]: any };

function apiAt(path: string[]): object {
  return new Proxy(
    {},
    {
      get(_target, property) {
        if (property === functionName) return nameAt(path);
        if (property === Symbol.toStringTag) return "FunctionReference";
        return typeof property === "string" ? apiAt([...path, property]) : undefined;
      },
    },
  );
}

function nameAt(path: string[]): string {
  if (path.length < 2) {
    throw new TypeError(`${["api", ...path].join(".")} is not a function; a path such as api.messages.send leads to one`);
  }
  const module = path.slice(0, -1).join("/");
  const name = path.at(-1);
  return name === "default" ? module : `${module}:${name}`;
}

function describe(value: unknown): string {
  return typeof value === "object" && value !== null ? "an object without a function's name" : JSON.stringify(value);
}
