/**
 * The thread in which SQLite works for a process that serves sockets: opens the engine it was told to, runs what comes,
 * everything that waits in one batch, and answers after the commit. Started by sqlite-rpc.ts only, which it must not import (see startWorker there).
 */
import { isMainThread, type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { type OpenEngine, openEngine } from './sqlite-engines.ts';
import { type EngineSpec, toWire, type WireAnswers, type WireRequests } from './sqlite-wire.ts';

if (!isMainThread && parentPort !== null) await serve(parentPort, workerData as EngineSpec);

async function serve(port: MessagePort, spec: EngineSpec): Promise<void> {
  const answer = (message: WireAnswers): void => port.postMessage(message);
  let engine: OpenEngine;
  try {
    engine = await openEngine(spec);
  } catch (error) {
    answer({ firstId: -1, answers: [toWire({ error })] });
    port.close();
    return;
  }
  port.on('message', (first: WireRequests) => {
    const messages = [first];
    // What came while the last batch ran.
    for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
      messages.push(next.message as WireRequests);
    }
    const last = messages.at(-1)?.requests === undefined;
    const answers = engine.run(messages.flatMap(({ requests }) => requests ?? [])).map(toWire);
    let from = 0;
    for (const { firstId, requests } of messages) {
      const count = requests?.length ?? 0;
      if (count > 0) answer({ firstId, answers: answers.slice(from, from + count) });
      from += count;
    }
    if (!last) return;
    engine.close();
    port.close();
  });
  answer({ firstId: -1, answers: [{ value: undefined }] });
}
