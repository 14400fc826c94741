// The order in which the official client holds values: reads objects with a `value` or none, gives their positions.

import { readFileSync } from "node:fs";
import { compareValues, jsonToConvex } from "convex/values";

const given = JSON.parse(readFileSync(process.argv[2], "utf8")).map(({ value }) => value === undefined ? value : jsonToConvex(value));
const positions = given.map((_, position) => position);
console.log(JSON.stringify(positions.sort((one, other) => compareValues(given[one], given[other]))));
