#!/usr/bin/env node
/** mpoold: activates pools, and serves them to many processes. */
import { runDaemon } from './server/program.ts';

process.exit(await runDaemon(process.argv.slice(2), import.meta.filename));
