// Package blob keeps message bodies: immutable octets, named by a stamp that
// grows with time and by their SHA-256.
//
// Flow in:
//  1. [Store.Create] gives a Writer. Up to Inline octets stay in pooled memory;
//     what is longer goes to a temporary file in its final directory.
//  2. [Writer.Finish] gives the body its [postino.BlobID]. A file is synced,
//     renamed and its directory synced, in this order (requirement ST1).
//  3. [Store.Put], inside the caller's transaction, writes the body, or the
//     record of its file, and the first reference. One commit makes all durable.
//  4. [Writer.Abort] gives the memory back, and removes a file never put.
//
// Flow out: [Store.Get] and [Store.GetMany] read small bodies inside a View;
// [Store.Open] reads any body.
//
// Rows, by first octets: "bd"+id a small body, "bf"+id the record of a file,
// "br"+id+ref a reference, "bu"+id a body that lost its last reference and
// when. Values begin with a version octet. The order of ids is that of
// arrival, so bodies that came together are read together.
//
// Removal: a transaction unlinks the last reference and leaves a "bu" row.
// After the grace time [Store.Sweep] looks again for references, in a
// transaction, removes the rows, and after that the file. Files without a
// record that are older than the grace time are what a crash left; they go too.
// A new reference is made only while another is there, and no transaction
// lives as long as the grace time, so a swept body has no holder.
//
// States of a large body, the one step to the next, and what a crash leaves:
//
//	temporary file        rename + sync    swept by age
//	file                  commit of Put    swept by age: no record
//	file, record, refs    last Unlink      served
//	file, record, "bu"    Sweep            swept again
//	file                  removal          swept by age
//
// Invariants: what was acknowledged is there; a body that is read verifies by
// CRC-32C over each block of 64 KiB or fails as Corrupt (ST2); its SHA-256 is
// checked by [Store.Scrub].
//
// Limits: Inline 64 KiB; bodies in memory 256 MiB in sum, reserved before
// memory is taken (SS16); a file up to 256 GiB.
package blob
