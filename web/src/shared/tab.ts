// What a page keeps until its tab is closed. Where a browser blocks site data, it is kept until the page is left.

const memory = new Map<string, string>();

export const tab = {
  get(name: string): string | undefined {
    return memory.get(name) ?? attempt((storage) => storage.getItem(name)) ?? undefined;
  },
  set(name: string, value: string): void {
    memory.set(name, value);
    attempt((storage) => storage.setItem(name, value));
  },
  remove(name: string): void {
    memory.delete(name);
    attempt((storage) => storage.removeItem(name));
  },
};

/** Where site data is blocked, even to name the storage is an error; a full one refuses to take more. */
function attempt<T>(act: (storage: Storage) => T): T | undefined {
  try {
    return act(sessionStorage);
  } catch {
    return undefined;
  }
}
