// Whether LibreChat itself takes a librechat.yaml, which comes as JSON.
import { readFileSync } from "node:fs";
import { configSchema } from "librechat-data-provider";

const read = configSchema.strict().safeParse(JSON.parse(readFileSync(process.argv[2], "utf8")));
if (!read.success) {
  console.error(read.error.message);
  process.exit(1);
}
