import { anyApi, type FunctionReference, type PaginationOptions, type PaginationResult } from "yugen";

type Task = { _id: string; _creationTime: number; text: string; done: boolean };

export const api = anyApi as {
  tasks: {
    list: FunctionReference<"query", "public", {}, Task[]>;
    open_count: FunctionReference<"query", "public", {}, number>;
    page: FunctionReference<"query", "public", { paginationOpts: PaginationOptions }, PaginationResult<Task>>;
    add: FunctionReference<"mutation", "public", { text: string }, string>;
    set_done: FunctionReference<"mutation", "public", { task: string; done: boolean }, null>;
    longest: FunctionReference<"action", "public", {}, string>;
  };
};
