// What the client uses of Node; the whole of its types is not needed for that.
declare const process: { argv: string[]; exitCode?: number };
