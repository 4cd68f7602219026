import type { Session } from './session.ts';

interface Page<Item> {
  items: Item[];
  /** Of the last item. */
  lastId: string | undefined;
  done: boolean;
}

/**
 * What the daemon lists, page by page; the next page is on its way while one is looked at.
 * @param ask for the page after that id
 */
export async function* listed<Item>(
  session: Session,
  ask: (after: string | undefined) => Promise<Page<Item>>,
): AsyncGenerator<Item> {
  let coming = ask(undefined);
  for (;;) {
    const { items, lastId, done } = await coming;
    if (!done) {
      coming = ask(lastId);
      // Told when it is its turn.
      coming.catch(() => {});
    }
    for (const item of items) {
      session.assertOpen();
      yield item;
    }
    if (done) return;
  }
}
