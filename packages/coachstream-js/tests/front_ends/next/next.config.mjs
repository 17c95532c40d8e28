// The lock file of the app's own folder is the one that counts, whatever is in the folders above.
import { fileURLToPath } from "node:url";

export default { turbopack: { root: fileURLToPath(new URL(".", import.meta.url)) } };
