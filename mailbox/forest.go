package mailbox

// forest holds trees of which a node can be hung under another with all that is
// below it, and taken off again, and tells the root of any node: each in
// logarithmic time on average, however deep the trees are (link-cut trees of
// Sleator and Tarjan, without reversal). The way from a node to the root is cut
// into paths; each path is a splay tree ordered by depth. Nodes count from 1.
type forest []forestNode

type forestNode struct {
	up          int32 // in the splay tree or, at its top, the node above the path
	left, right int32
}

// top tells whether x is the top of its splay tree.
func (f forest) top(x int32) bool {
	up := f[x].up
	return up == 0 || f[up].left != x && f[up].right != x
}

// rotate lifts x over the node above it.
func (f forest) rotate(x int32) {
	up := f[x].up
	above, top := f[up].up, f.top(up)
	var moved int32
	if f[up].left == x {
		moved = f[x].right
		f[up].left, f[x].right = moved, up
	} else {
		moved = f[x].left
		f[up].right, f[x].left = moved, up
	}
	if moved != 0 {
		f[moved].up = up
	}
	f[up].up, f[x].up = x, above
	if !top {
		if f[above].left == up {
			f[above].left = x
		} else {
			f[above].right = x
		}
	}
}

// splay lifts x to the top of its splay tree.
func (f forest) splay(x int32) {
	for !f.top(x) {
		if up := f[x].up; !f.top(up) {
			if above := f[up].up; (f[above].left == up) == (f[up].left == x) {
				f.rotate(up)
			} else {
				f.rotate(x)
			}
		}
		f.rotate(x)
	}
}

// access makes the way from the root to x one path, with x at the top of its
// splay tree and nothing deeper in it.
func (f forest) access(x int32) {
	for y, below := x, int32(0); y != 0; y, below = f[y].up, y {
		f.splay(y)
		f[y].right = below
	}
	f.splay(x)
}

// root returns the root of the tree that x is in.
func (f forest) root(x int32) int32 {
	f.access(x)
	for f[x].left != 0 {
		x = f[x].left
	}
	f.splay(x) // what was walked must not be walked again
	return x
}

// link hangs the root x under a node of another tree.
func (f forest) link(x, under int32) {
	f.splay(x)
	f[x].up = under
}

// cut takes x off the node above it.
func (f forest) cut(x int32) {
	f.access(x)
	if left := f[x].left; left != 0 {
		f[left].up, f[x].left = 0, 0
	}
}
