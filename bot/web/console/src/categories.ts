/** 案由: the tree's names, and its shape for the picker. */
import type { Category } from './api/types'

/** 法律 / 劳动 / 拖欠工资 for legal.labour.unpaid_wages; the code itself when the tree does not know it. */
export function categoryName(tree: readonly Category[], code: string): string {
  if (!code) return ''
  const names: string[] = []
  let level: readonly Category[] | undefined = tree
  while (level) {
    const found: Category | undefined = level.find((node) => code === node.code || code.startsWith(`${node.code}.`))
    if (!found) break
    names.push(found.name)
    if (found.code === code) return names.join(' / ')
    level = found.children
  }
  return code
}

/** A type, not an interface: Element Plus asks for an index signature. */
export type Option = {
  value: string
  label: string
  children?: Option[]
}

export function options(tree: readonly Category[]): Option[] {
  return tree.map((node) => ({
    value: node.code,
    label: node.name,
    ...(node.children?.length ? { children: options(node.children) } : {}),
  }))
}
