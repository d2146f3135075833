// The chat page. talk.ts holds what was said, link.ts gets it there and back, page.ts shows it.
import { open } from './page';

open();
