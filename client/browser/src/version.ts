/** The version in package.json; it travels in the sync address because browsers cannot set headers. */
export const VERSION = "0.1.0";
